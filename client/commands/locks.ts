/** `agent`, `lock`, `token`. */
import { resolve } from "node:path";
import { Agent, lockAgent } from "../home/agent.ts";
import { startAgentProcess } from "../home/agent_process.ts";
import { FastChatError, LockedError, UsageError } from "../errors.ts";
import { chooseHome } from "../homes.ts";
import { homeExists, type HomeParts, openHome } from "../home_parts.ts";
import { noAccount } from "../local_home.ts";
import type { Options } from "../options.ts";
import { printLine } from "../output.ts";
import { passwordFor } from "../password.ts";
import { canAsk } from "../prompt.ts";
import type { Timers } from "../timers.ts";
import { newToken, parseToken, readTokenFile } from "../home/token.ts";
import { unlock } from "../account/unlock.ts";
import { untilInterrupted } from "./open.ts";
import { findWayIn, IDLE_SECONDS, runtimeDirectory } from "./unlocked.ts";

export async function agent(_words: readonly string[], options: Options): Promise<void> {
  const home = homeOf(options), idleSeconds = options.timeout ?? IDLE_SECONDS;
  const key = options.stdin ? await keyFromInput(home) : await keyOf(home, options);
  if (!options.foreground) {
    // One that runs already may have another time to live.
    await lockAgent(home, runtimeDirectory());
    await startAgentProcess({ home, key, idleSeconds });
    return printLine(`Unlocked: "fastchat lock" ends it, or ${spoken(idleSeconds)} of no use`);
  }
  const agent = await Agent.start({
    home,
    key,
    idleMs: idleSeconds * 1000,
    timers: WALL_CLOCK,
    runtimeDirectory: runtimeDirectory(),
  });
  key.fill(0);
  const { signal, dispose } = untilInterrupted();
  signal.addEventListener("abort", () => agent.close("stopped"), { once: true });
  printLine(`Unlocked: listening on ${agent.path}`);
  await agent.ended;
  dispose();
}

export async function lock(_words: readonly string[], options: Options): Promise<void> {
  const wasOpen = await lockAgent(homeOf(options), runtimeDirectory());
  printLine(wasOpen ? "Locked" : "No agent kept it unlocked");
}

export async function token(words: readonly string[], options: Options): Promise<void> {
  const [verb, what] = words;
  if (verb === "create" && what !== undefined) return await createToken(what, options);
  if (verb === "revoke" && what !== undefined) return await revokeToken(what, options);
  if (verb === "list" && what === undefined) return inHome(options, (parts) => listTokens(parts, options));
  throw new UsageError("Usage: fastchat token create FILE | token list | token revoke FILE|NUMBER");
}

/** The file first: one that opens nothing does no harm, a seal whose token nobody has is only clutter. */
async function createToken(file: string, options: Options): Promise<void> {
  const home = homeOf(options), path = resolve(file), { token, text } = newToken();
  const key = await keyOf(home, options);
  try {
    using made = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    await made.write(new TextEncoder().encode(text));
    await made.sync();
  } catch (error) {
    throw new UsageError(`Cannot make the token file ${path}: ${(error as Error).message}`, { cause: error });
  }
  try {
    inHome(options, (parts) => {
      parts.vault.unlockWithKey(key);
      const id = parts.vault.addToken(token, path);
      if (options.json) printLine(JSON.stringify({ type: "token", id, file: path }));
      else printLine(`Token ${id} is in ${path}. Whoever reads that file and this home is you.`);
    });
  } catch (error) {
    await Deno.remove(path);
    throw error;
  }
}

function listTokens({ vault }: HomeParts, options: Options): void {
  for (const { id, label: file, madeMs } of vault.tokens()) {
    const time = new Date(madeMs).toISOString();
    if (options.json) printLine(JSON.stringify({ type: "token", id, file, time }));
    else printLine(`${id}  ${time}  ${file}`);
  }
}

async function revokeToken(what: string, options: Options): Promise<void> {
  const secret = /^\d+$/.test(what) ? undefined : parseToken(await readTokenFile(what));
  inHome(options, ({ vault }) => {
    const id = secret === undefined ? Number(what) : vault.tokenId(secret);
    if (id === undefined || !vault.revokeToken(id)) {
      throw new UsageError(`No token ${what} opens this home: fastchat token list names those that do`);
    }
    if (options.json) printLine(JSON.stringify({ type: "token-revoked", id }));
    else printLine(`Token ${id} opens this home no more`);
  });
}

/** The key, by whatever there is; a home that lies open is sealed by the password first. */
async function keyOf(home: string, options: Options): Promise<Uint8Array> {
  const way = await findWayIn(home, { ...options, agent: false });
  const parts = openHome(home);
  try {
    const { vault, credentials } = parts;
    if (vault.isOpen && way.password === undefined) {
      const name = credentials.account()?.name;
      if (name === undefined) throw noAccount(home);
      if (!canAsk()) throw new LockedError("This home is not sealed yet: give its password once, to seal it");
      await unlock(credentials, { password: await passwordFor(name, options.passwordFile) });
    } else await unlock(credentials, way);
    if (vault.isOpen) throw new FastChatError("That password does not open this home's identity: nothing was sealed");
    return vault.key();
  } finally {
    parts.database.close();
  }
}

/** As `startAgentProcess` hands it over. */
async function keyFromInput(home: string): Promise<Uint8Array> {
  const text = await new Response(Deno.stdin.readable).text();
  const key = Uint8Array.fromBase64(text.trim());
  const parts = openHome(home);
  try {
    if (parts.vault.unlockWithKey(key)) return key;
    throw new UsageError("Standard input had no key of this home");
  } finally {
    parts.database.close();
  }
}

function homeOf(options: Options): string {
  const home = chooseHome(options);
  if (!homeExists(home)) throw noAccount(home);
  return home;
}

function inHome<T>(options: Options, use: (parts: HomeParts) => T): T {
  const parts = openHome(homeOf(options));
  try {
    return use(parts);
  } finally {
    parts.database.close();
  }
}

function spoken(seconds: number): string {
  if (seconds >= 3600) return `${Math.round(seconds / 360) / 10} hours`;
  return seconds >= 60 ? `${Math.round(seconds / 6) / 10} minutes` : `${seconds} seconds`;
}

/** A machine that slept has not been used: time goes on by the clock on the wall. */
const WALL_CLOCK: Timers = {
  nowMs: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
