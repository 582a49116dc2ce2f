/** How a home's vault gets its key: by what the caller has, or not at all (SECURITY P11). */
import { StretchingRefused, stretchPassword, systemRandom } from "../../shared/crypto/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { FastChatError, LockedError, UsageError, WrongPasswordError } from "../errors.ts";
import type { HomeVault } from "../home/home_vault.ts";
import type { OpenOptions } from "../open_options.ts";
import type { PasswordOwner } from "../home/seals.ts";
import { testOnlyFloor } from "./stretching.ts";
import { parseToken } from "../home/token.ts";

/** Ways into a sealed home; one that is right is enough. */
export interface Unlocking {
  /** The key itself, as {@linkcode LocalHome.key} gave it: 32 bytes. */
  readonly unlock?: Uint8Array | undefined;
  /** What is in a token file (`fastchat token create FILE`). */
  readonly token?: string | undefined;
  /** The person's password: some 0.4 s. */
  readonly password?: string | undefined;
}

/** What somebody connects a home with. */
export type ConnectingWays = Unlocking & Pick<OpenOptions, "homePassword" | "recoveryKey">;

/**
 * Unlocks a home, where it is locked; changes nothing where none of the ways is right. A home that lies open, because it was made
 * before homes were sealed, is sealed by a password that proves to be its identity's.
 *
 * @throws LockedError where nothing was given, WrongPasswordError, UsageError for a token that is none, VaultError for a damaged seal.
 */
export async function unlock(credentials: Credentials, ways: Unlocking): Promise<void> {
  const { vault } = credentials;
  vault.clean();
  if (vault.isLocked) await open(credentials, ways);
  else await sealOpenHome(credentials, ways.password);
  if (ways.password !== undefined) await credentials.learnAccountKey(ways.password);
}

/**
 * The same on the way to a server, where the password may be somebody's who has no home here yet, or a new one.
 *
 * @throws As {@linkcode unlock}; LockedError where a recovery would have to open what the lost password sealed.
 */
export async function unlockToConnect(credentials: Credentials, options: ConnectingWays): Promise<void> {
  const { password, homePassword = password } = options;
  try {
    await unlock(credentials, { ...options, password: homePassword });
  } catch (error) {
    if (!(error instanceof WrongPasswordError || error instanceof LockedError)) throw error;
    // Nobody has signed up here yet: whoever does it now does it with a password of their own.
    if (!credentials.account()?.enrolled && password !== undefined) return;
    if (options.recoveryKey === undefined || !credentials.account()?.enrolled) throw error;
    throw new LockedError(
      "This home is sealed by the password that is lost: recover in another one (--home DIR), or unlock it first",
    );
  }
}

async function open({ vault }: Credentials, ways: Unlocking): Promise<void> {
  if (ways.unlock !== undefined && vault.unlockWithKey(ways.unlock)) return;
  if (ways.token !== undefined && vault.unlockWithToken(parseToken(ways.token))) return;
  if (ways.password !== undefined) {
    if (await unlockWithPassword(vault, ways.password)) return;
    throw new WrongPasswordError(
      "Wrong password: it does not unlock this home. If it was changed on another device, the one before still does here, " +
        "until you log in with the new one: fastchat login asks a person for both, a script gives --token-file and the new one",
    );
  }
  if (ways.token !== undefined) {
    throw new LockedError("This token does not unlock this home: it is another home's, or was revoked");
  }
  if (ways.unlock !== undefined) throw new LockedError("This key does not unlock this home: it is another home's");
  throw new LockedError();
}

/** @returns Whether it is the home's password. */
export async function unlockWithPassword(vault: HomeVault, password: string): Promise<boolean> {
  for (const owner of vault.passwordOwners()) {
    if (vault.unlockWithPassword(await stretchFor(owner, password))) return true;
  }
  return false;
}

async function sealOpenHome(credentials: Credentials, password: string | undefined): Promise<void> {
  const { vault } = credentials, account = credentials.account();
  if (!vault.isOpen || password === undefined || !account?.enrolled) return;
  // What proves it without a server. Where it does not, the next log-in with the password does.
  const identity = await credentials.identity(password).catch((error) => {
    if (error instanceof FastChatError) return undefined;
    throw error;
  });
  if (identity === undefined) return;
  identity.wipe();
  const owner = ownerOfAccount(account);
  vault.rewrap(await stretchFor(owner, password), owner);
}

function ownerOfAccount({ clusterId, name, log2N, salt }: Account): PasswordOwner {
  // Older homes do not know the server's salt. Any will do here: the home keeps it.
  return { clusterId, name, stretching: { log2N, salt: salt ?? systemRandom.bytes(16) } };
}

async function stretchFor({ clusterId, name, stretching }: PasswordOwner, password: string) {
  const testOnlyLog2NMin = testOnlyFloor();
  try {
    return await stretchPassword({
      clusterId,
      name,
      password,
      stretching,
      ...(testOnlyLog2NMin !== undefined && { testOnlyLog2NMin }),
    });
  } catch (error) {
    if (error instanceof StretchingRefused) {
      throw new UsageError(`Cannot unlock this home: ${error.message}`, { cause: error });
    }
    throw error;
  }
}
