/** `archive`, and what `recover` does about one. */
import type { ArchiveOffer, ArchiveState } from "../archive/archive.ts";
import type { Restored } from "../archive/restorer.ts";
import type { ChatClient } from "../chat_client.ts";
import { FastChatError, UsageError } from "../errors.ts";
import type { Options } from "../options.ts";
import { printError, printLine } from "../output.ts";
import { InputLines, passwordFor } from "../password.ts";
import { ask, canAsk, printNotice } from "../prompt.ts";
import { readRecoveryKey } from "../account/recovery.ts";
import { printProgress, withClient } from "./open.ts";
import { RecoveryFile, recoveryJson, recoveryLines } from "./recovery_file.ts";
import { recoveryKeyFor } from "./recovery_input.ts";

export async function archive(words: readonly string[], options: Options): Promise<void> {
  const [verb = "status"] = words;
  const act = Object.hasOwn(VERBS, verb) ? VERBS[verb as keyof typeof VERBS] : undefined;
  if (act === undefined) throw new UsageError("Usage: fastchat archive [status | on | off | sync | restore]");
  if (options.delete && verb !== "off") throw new UsageError("--delete is for fastchat archive off");
  if (options.newRecoveryKey && verb !== "on") throw new UsageError("--new-recovery-key is for fastchat archive on");
  await withClient(options, (chat) => act(chat, options));
}

/**
 * Brings the archive of an account back that was just recovered, where there is one and somebody wants that.
 *
 * @param recoveryKey 20 bytes.
 * @returns What to print once the recovery itself was told; `undefined` where there is no archive.
 */
export async function offerArchive(
  chat: ChatClient,
  recoveryKey: Uint8Array,
  options: Options,
): Promise<string[] | undefined> {
  try {
    const offer = await chat.archive.offer(recoveryKey);
    if (offer === undefined) return undefined;
    const there = `There is an archive of your messages: ${describe(offer)}`;
    if (!await isWanted(there, options)) {
      if (options.json) return [JSON.stringify({ type: "archive-offer", ...offer })];
      return [`${there}. "fastchat archive restore" brings them back`];
    }
    const restored = await chat.archive.restore({ onProgress: progressOf("Bringing the archive back") });
    const lines = restoredLines(restored, options);
    return options.json ? lines : [...lines, 'This home archives nothing by itself: "fastchat archive on"'];
  } catch (error) {
    // The account is back all the same.
    if (!(error instanceof FastChatError)) throw error;
    printError(
      `fastchat: the archive could not be brought back: ${error.message}. fastchat archive restore tries again`,
    );
    return [];
  }
}

/** Says so where a recovery key was made that does not open the archive. Once the key was shown: nothing may come before that. */
export async function warnOfArchive(chat: ChatClient): Promise<void> {
  try {
    const { kept } = await chat.archive.state();
    if (kept !== undefined && !kept.opensNow) printError(`fastchat: ${NOT_OPENED}`);
  } catch (error) {
    // A home that archives tells of it, too.
    if (!(error instanceof FastChatError)) throw error;
  }
}

async function isWanted(there: string, options: Options): Promise<boolean> {
  if (options.archive) return true;
  if (!canAsk() || options.json) return false;
  printNotice(there);
  return !/^n/i.test((await ask("Bring them back now? [Y/n] ")).trim());
}

async function status(chat: ChatClient, options: Options): Promise<void> {
  const state = await chat.archive.state();
  if (options.json) return printLine(JSON.stringify({ type: "archive", ...state }));
  for (const line of stateLines(state)) printLine(line);
}

async function on(chat: ChatClient, options: Options): Promise<void> {
  const before = await chat.archive.state();
  if (before.bytesMax === 0) throw new FastChatError("This server keeps no archives");
  if (!before.on) await confirm(options);
  const key = options.newRecoveryKey
    ? await newRecoveryKey(chat, before, options)
    : await chat.archive.needsRecoveryKey()
    ? await recoveryKeyFor(chat.name, options, new InputLines())
    : undefined;
  await chat.archive.switchOn(key === undefined ? undefined : readRecoveryKey(key));
  let isLate = false;
  await chat.archive.sync(waitingProgress()).catch((error) => {
    if (!(error instanceof FastChatError)) throw error;
    printError(`fastchat: ${error.message}: the rest goes into the archive while a chat or listen runs`);
    isLate = true;
  });
  const state = await chat.archive.state();
  if (state.kept?.opensNow === false) printError(`fastchat: ${NOT_OPENED}`);
  if (options.json) return printLine(JSON.stringify({ type: "archive", ...state }));
  const { chunks = 0, bytes = 0 } = state.kept ?? {};
  printLine(`This home archives${isLate ? "" : `: ${count(chunks, "part", "parts")}, ${size(bytes)}`}`);
  for (const line of KEEP_IT) printLine(line);
}

/** Makes one, and shows it before anything else can go wrong. */
async function newRecoveryKey(chat: ChatClient, { kept, hasKey }: ArchiveState, options: Options): Promise<string> {
  if (kept !== undefined && !hasKey) {
    throw new UsageError(
      "There is an archive, which a new recovery key does not open, since this home has not its key. Give the recovery key of " +
        'now; or delete the archive: "fastchat archive off --delete"',
    );
  }
  using file = RecoveryFile.open(options.recoveryFile);
  const key = await chat.newRecoveryKey({ password: await passwordFor(chat.name, options.passwordFile) });
  file?.write(key);
  if (options.json) printLine(JSON.stringify({ type: "recovery-key", name: chat.name, ...recoveryJson(key, file) }));
  else for (const line of recoveryLines(key, file)) printLine(line);
  return key;
}

async function off(chat: ChatClient, options: Options): Promise<void> {
  if (options.delete) await chat.archive.remove(await passwordFor(chat.name, options.passwordFile));
  else chat.archive.switchOff();
  const state = await chat.archive.state();
  if (options.json) return printLine(JSON.stringify({ type: "archive", ...state }));
  if (options.delete) return printLine("The archive is deleted, and this home archives nothing");
  printLine("This home archives nothing any more");
  if (state.kept !== undefined) printLine('What is at the server stays: "fastchat archive off --delete" deletes it');
}

async function sync(chat: ChatClient, options: Options): Promise<void> {
  if (!(await chat.archive.state()).on) throw new UsageError('This home archives nothing: "fastchat archive on"');
  await chat.archive.sync(waitingProgress());
  await status(chat, options);
}

async function restore(chat: ChatClient, options: Options): Promise<void> {
  const { kept, hasKey } = await chat.archive.state();
  if (kept === undefined) throw new UsageError("There is no archive of yours at this server");
  const key = hasKey ? undefined : readRecoveryKey(await recoveryKeyFor(chat.name, options, new InputLines()));
  const restored = await chat.archive.restore({
    recoveryKey: key,
    onProgress: progressOf("Bringing the archive back"),
  });
  for (const line of restoredLines(restored, options)) printLine(line);
}

/** @throws UsageError unless somebody says yes. */
async function confirm(options: Options): Promise<void> {
  if (options.yes) return;
  if (!canAsk()) throw new UsageError(`${WHAT_IT_MEANS.join(" ")} Say so with --yes`);
  for (const line of WHAT_IT_MEANS) printNotice(line);
  if (!/^y(es)?$/i.test((await ask("Switch it on? [y/N] ")).trim())) throw new UsageError("Nothing was done");
}

function restoredLines(restored: Restored, options: Options): string[] {
  const { messages, known, problems } = restored;
  if (options.json) return [JSON.stringify({ type: "archive-restored", messages, known, problems })];
  const there = known === 0 ? "" : `, ${count(known, "was", "were")} here already`;
  return [
    `${count(messages, "message is", "messages are")} back from your archive${there}`,
    ...problems.map((problem) => `Not all of it: ${problem}`),
  ];
}

function stateLines({ on, hasKey, waiting, full, kept, bytesMax }: ArchiveState): string[] {
  if (bytesMax === 0 && kept === undefined) return ["This server keeps no archives"];
  const lines = [on ? "This home archives what comes to it" : "This home archives nothing"];
  if (kept === undefined) return [...lines, "There is no archive of yours at the server"];
  lines.push(
    kept.newest === undefined
      ? `Your archive, begun at ${kept.since}, has nothing in it yet`
      : `The server keeps ${count(kept.chunks, "part", "parts")}, ${size(kept.bytes)} of ${size(bytesMax)}, by ${
        count(kept.homes, "home", "homes")
      }, since ${kept.since}, the newest of ${kept.newest}`,
  );
  if (on && waiting > 0) lines.push(`${count(waiting, "message waits", "messages wait")}${full ? ": it is full" : ""}`);
  if (!kept.opensNow) lines.push(NOT_OPENED);
  if (!hasKey) lines.push("This home has not its key: to bring it back takes the recovery key");
  return lines;
}

function describe({ messages, bytes, newest }: ArchiveOffer): string {
  return `${count(messages, "message", "messages")}, ${size(bytes)}, the newest archived at ${newest}`;
}

function progressOf(what: string): (done: number, all: number) => void {
  const say = seldom();
  return (done, all) => say(done === all, () => `${what}: ${Math.floor(100 * done / Math.max(1, all))} %`);
}

function waitingProgress(): (waiting: number) => void {
  const say = seldom();
  return (waiting) => say(false, () => `Archiving: ${count(waiting, "message", "messages")} left`);
}

/** Not more than a line a second. */
function seldom(): (isLast: boolean, text: () => string) => void {
  let lastMs = performance.now();
  return (isLast, text) => {
    const nowMs = performance.now();
    if (isLast || nowMs - lastMs < 1_000) return;
    lastMs = nowMs;
    printProgress(text());
  };
}

function count(number: number, one: string, many: string): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function size(bytes: number): string {
  if (bytes < 1 << 20) return `${Math.ceil(bytes / 1024)} KiB`;
  return `${(bytes / 2 ** 20).toFixed(1).replace(".0", "")} MiB`;
}

const VERBS = { status, on, off, sync, restore };
const WHAT_IT_MEANS = [
  "The archive is a copy of all your messages at the server, those of others to you among them, sealed by a key that your",
  "recovery key opens. It trades forward secrecy for recovery: whoever has the recovery key and the server's help can read",
  "everything that was archived, for ever, and so can whoever has this device unlocked, with that help. In return your messages",
  "come back when password and devices are lost. Those you talk with are not asked.",
];
const KEEP_IT = [
  "It opens with your recovery key, and with nothing else elsewhere: keep that where this machine's loss does not take it.",
  '"fastchat archive off" ends it, "fastchat archive off --delete" deletes what is there.',
];
const NOT_OPENED =
  "The archive does not open with the recovery key of now, only with the one before it: keep that one, or say " +
  '"fastchat archive on" in a home that archives, with the new one';
