/**
 * One person of a chaos run, as a process of its own that can be killed at any moment: a face over the client library that
 * is told on standard input what to type and tells on standard output, a line of JSON each, what happens.
 *
 *     person_main.ts HOME SERVER NAME
 */
import { sha256 } from "../../shared/crypto/mod.ts";
import { Outbox } from "../../client/talk/outbox.ts";
import { ChatClient, type ChatEvent, type MessageEvent, type RefusedEvent } from "../../client/mod.ts";
import { homeExists, openHome } from "../../client/home_parts.ts";
import { unlock } from "../../client/account/unlock.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { lines, PASSWORD } from "../e2e/harness.ts";
import type { KeptRow } from "./evidence.ts";

/** What the harness says. The first is always `begin`. */
export type Order =
  /** Answered by `holds`: which of these are in the outbox or were sent. */
  | { readonly type: "begin"; readonly uncertain: readonly { readonly key: string; readonly to: string }[] }
  | { readonly type: "say"; readonly to: string; readonly key: string; readonly text: string }
  /** Answered by `kept`, one for each, and by the end of the process. */
  | { readonly type: "finish"; readonly peers: readonly string[] };

/** What it says. `atMs` is the wall clock. */
export type Report =
  | { readonly type: "holds"; readonly keys: readonly string[] }
  | { readonly type: "open"; readonly atMs: number; readonly name: string }
  /** It is in the outbox. */
  | { readonly type: "taken"; readonly key: string }
  | {
    readonly type: "acknowledged";
    readonly atMs: number;
    readonly key: string;
    readonly id: string;
    readonly conversation: string;
    readonly seq: number;
    readonly storedMs: number;
  }
  | ({ readonly type: "shown"; readonly position: number; readonly conversation: string } & KeptRow)
  | { readonly type: "marked"; readonly position: number }
  | { readonly type: "connected"; readonly atMs: number; readonly server: string }
  | { readonly type: "disconnected"; readonly atMs: number; readonly reason: string }
  | { readonly type: "complaint"; readonly text: string }
  | { readonly type: "kept"; readonly conversation: string; readonly rows: readonly KeptRow[] }
  | { readonly type: "finished" };

const [home, server, name] = Deno.args as [string, string, string];

async function main(): Promise<void> {
  const orders = readOrders();
  const first = (await orders.next()).value;
  if (first?.type !== "begin") throw new Error("The first order is not 'begin'");
  tell({ type: "holds", keys: await heldKeys(first.uncertain) });
  const chat = await ChatClient.open({
    home,
    server,
    name,
    password: PASSWORD,
    register: true,
    // Talking and catching up go on side by side.
    catchUp: false,
    timeoutMs: OPEN_MS_MAX,
  });
  const events = watch(chat);
  tell({ type: "open", atMs: Date.now(), name: chat.name });
  tell({ type: "connected", atMs: Date.now(), server: chat.connectedTo });
  const stop = new AbortController(), showing = show(chat, stop.signal);
  for await (const order of orders) {
    if (order.type === "say") say(chat, order.to, order.key, order.text);
    else if (order.type === "finish") {
      for (const peer of order.peers) tellKept(chat, peer);
      stop.abort();
      await showing;
      await chat.close();
      await events;
      return tell({ type: "finished" });
    }
  }
}

/** What somebody sees who looks into the home after a crash: of these, what need not be typed again. */
async function heldKeys(uncertain: readonly { readonly key: string; readonly to: string }[]): Promise<string[]> {
  if (uncertain.length === 0 || !homeExists(home)) return [];
  const { database, conversations, history, credentials } = openHome(home);
  try {
    await unlock(credentials, { password: PASSWORD });
    const outbox = new Outbox(database, history), keys = new Set<string>();
    for (const { id } of outbox.waiting(0, ALL)) keys.add(keyOf(outbox.row(id)!.text));
    for (const to of new Set(uncertain.map(({ to }) => to))) {
      const known = conversations.with(to as UserName);
      for (const { from, text } of known ? history.messagesIn(known.id, ALL) : []) {
        if (from === name) keys.add(keyOf(text));
      }
    }
    return uncertain.map(({ key }) => key).filter((key) => keys.has(key));
  } finally {
    database.close();
  }
}

function say(chat: ChatClient, to: string, key: string, text: string): void {
  const sent = chat.send(to, text);
  // The row is in the outbox by the time send() returns.
  tell({ type: "taken", key });
  sent.then(
    ({ id, conversation, seq, time }) =>
      tell({ type: "acknowledged", atMs: Date.now(), key, id, conversation, seq, storedMs: Date.parse(time) }),
    (error) => tell({ type: "complaint", text: `${key} failed: ${error}` }),
  );
}

/** As `listen` does: the cursor moves behind what was written. */
async function show(chat: ChatClient, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const { event, position } of chat.unshown(PAGE)) {
      if (event.type === "refused") tell({ type: "complaint", text: refusal(event) });
      else if (event.type === "message") {
        tell({ type: "shown", position, conversation: event.conversation, ...rowOf(event) });
      }
      chat.markShown(position);
      tell({ type: "marked", position });
    }
    if (chat.unshown(1).length === 0) await chat.waitForUnshown(POLL_MS, signal);
  }
}

/** What happens besides, and what its own history says of messages that were sent. */
async function watch(chat: ChatClient): Promise<void> {
  for await (const event of chat.events({ own: true })) tellEvent(event);
}

function tellEvent(event: ChatEvent): void {
  const atMs = Date.now();
  switch (event.type) {
    case "message": {
      const { from, id, conversation, seq, text, time } = event;
      if (from !== name) return;
      return tell({
        type: "acknowledged",
        atMs,
        key: keyOf(text),
        id,
        conversation,
        seq,
        storedMs: Date.parse(time),
      });
    }
    case "connection":
      if (event.state === "connected") return tell({ type: "connected", atMs, server: event.server ?? "" });
      return tell({ type: "disconnected", atMs, reason: event.reason ?? "" });
    case "notice":
      if (event.code === "gap" || event.code === "key-changed") tell({ type: "complaint", text: event.text });
  }
}

function tellKept(chat: ChatClient, peer: string): void {
  const messages = chat.history(peer, ALL);
  tell({ type: "kept", conversation: messages[0]?.conversation ?? "", rows: messages.map(rowOf) });
}

function rowOf({ seq, id, text }: MessageEvent): KeptRow {
  return { seq, id, key: keyOf(text), hash: hashOf(text) };
}

function refusal({ seq, claimedFrom, reason }: RefusedEvent): string {
  return `a row at ${seq}, claimed by ${claimedFrom}, is refused: ${reason}`;
}

export function keyOf(text: string): string {
  return text.slice(0, Math.max(0, text.indexOf(" ")));
}

export function hashOf(text: string): string {
  return sha256(new TextEncoder().encode(text)).toHex().slice(0, 16);
}

async function* readOrders(): AsyncGenerator<Order> {
  for await (const line of lines(Deno.stdin.readable)) yield JSON.parse(line);
}

/** One write a line: a kill leaves whole lines behind, up to the pipe's own measure. */
function tell(report: Report): void {
  const bytes = new TextEncoder().encode(JSON.stringify(report) + "\n");
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

const OPEN_MS_MAX = 60_000;
const POLL_MS = 60_000;
const PAGE = 100;
const ALL = 1_000_000;

if (import.meta.main) {
  await main();
  Deno.exit(0);
}
