/** How commands get into a sealed home: agent, token file, password, or by asking whoever sits there. */
import { equalBytes } from "../../shared/crypto/mod.ts";
import { askAgent, lockAgent } from "../home/agent.ts";
import { startAgentProcess } from "../home/agent_process.ts";
import { FastChatError, LockedError, WrongPasswordError } from "../errors.ts";
import { type HomeParts, openHome } from "../home_parts.ts";
import type { Options } from "../options.ts";
import { printError } from "../output.ts";
import { givenPassword } from "../password.ts";
import { askHidden, canAsk, printNotice } from "../prompt.ts";
import { parseToken, readTokenFile } from "../home/token.ts";
import { unlockWithPassword } from "../account/unlock.ts";

/** What a command goes on with. */
export interface WayIn {
  /** The home's key, where it was needed. */
  readonly unlock?: Uint8Array;
  /** The password, where somebody gave it. */
  readonly password?: string;
}

/**
 * Finds what unlocks a home that has an account.
 *
 * @param supplied A password that somebody gave in another way.
 * @throws LockedError where there is nothing and nobody to ask, WrongPasswordError, UsageError.
 */
export async function findWayIn(home: string, options: Options, supplied?: string): Promise<WayIn> {
  const parts = openHome(home);
  try {
    const { vault } = parts, given = supplied ?? await givenPassword(options.passwordFile);
    const password = given === undefined ? {} : { password: given };
    if (!vault.isLocked) {
      if (vault.isOpen && given === undefined && Deno.stderr.isTerminal()) printError(NOT_SEALED);
      return password;
    }
    if (await unlockQuietly(parts, options)) return { unlock: vault.key(), ...password };
    // Whoever uses it stretches it once; two times would be a second.
    if (given !== undefined) return password;
    if (!canAsk()) throw new LockedError();
    const typed = await askPassword(parts);
    await keepUnlocked(home, vault.key(), options);
    return { unlock: vault.key(), password: typed };
  } finally {
    parts.database.close();
  }
}

/**
 * As {@linkcode findWayIn}, for a log-in: the password may have been changed on another device since this home was sealed, and
 * the one before is needed once more.
 */
export async function findWayBack(home: string, options: Options, password: string): Promise<WayIn> {
  const parts = openHome(home);
  try {
    const { vault, credentials } = parts;
    if (!vault.isLocked || !credentials.account()?.enrolled) return {};
    if (await unlockQuietly(parts, options) || await unlockWithPassword(vault, password)) {
      return { unlock: vault.key() };
    }
    // Without anybody to ask the library says what is wrong.
    if (!canAsk()) return {};
    printNotice("This home does not open with that password: the one that you had before, once more.");
    await askPassword(parts);
    return { unlock: vault.key() };
  } finally {
    parts.database.close();
  }
}

/** A person has just given the password: the rest of the session needs none. Nothing that goes wrong here is worth failing for. */
export async function keepUnlocked(home: string, key: Uint8Array, options: Options): Promise<void> {
  if (!options.agent) return;
  try {
    const kept = await askAgent(home, runtimeDirectory());
    if (kept !== undefined && equalBytes(kept, key)) return;
    // One of a home that was here before.
    if (kept !== undefined) await lockAgent(home, runtimeDirectory());
    await startAgentProcess({ home, key, idleSeconds: IDLE_SECONDS });
    const end = runtimeDirectory() === undefined ? "" : "you log out of this machine, ";
    printNotice(`Unlocked until ${end}"fastchat lock", or ${IDLE_SECONDS / 3600} hours of no use.`);
  } catch (error) {
    if (!(error instanceof FastChatError)) throw error;
    printNotice(`${error.message}. The next command asks for the password again.`);
  }
}

/** Where this session's sockets lie, if the system has such a place. */
export function runtimeDirectory(): string | undefined {
  const directory = Deno.env.get("XDG_RUNTIME_DIR");
  if (directory === undefined || !directory.startsWith("/")) return undefined;
  try {
    return Deno.statSync(directory).isDirectory ? directory : undefined;
  } catch {
    return undefined;
  }
}

/** A token file that was named, the agent, a token file of the environment. */
async function unlockQuietly({ directory, vault }: HomeParts, options: Options): Promise<boolean> {
  if (options.tokenFile !== undefined) {
    if (vault.unlockWithToken(parseToken(await readTokenFile(options.tokenFile)))) return true;
    throw new LockedError(
      `The token in ${options.tokenFile} does not unlock this home: it is another home's, or was revoked`,
    );
  }
  const kept = await askAgent(directory, runtimeDirectory());
  if (kept !== undefined && vault.unlockWithKey(kept)) return true;
  const file = Deno.env.get("FASTCHAT_TOKEN_FILE");
  // With one file for several homes, it is for the password to open the others.
  return file !== undefined && file !== "" && vault.unlockWithToken(parseToken(await readTokenFile(file)));
}

async function askPassword({ credentials, vault }: HomeParts): Promise<string> {
  const name = vault.passwordOwner()?.name ?? credentials.account()?.name ?? "this account";
  for (let left = ATTEMPTS - 1;; left--) {
    const password = await askHidden(`Password of ${name}, to unlock this home: `);
    if (await unlockWithPassword(vault, password)) return password;
    if (left === 0) throw new WrongPasswordError("Wrong password: it does not unlock this home");
    printNotice("That is not it. Once more.");
  }
}

const NOT_SEALED = 'fastchat: this home is not sealed yet: "fastchat agent" asks for the password and seals it';
/** A working day. */
export const IDLE_SECONDS = 8 * 3600;
const ATTEMPTS = 3;
