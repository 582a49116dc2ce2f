/** Whose a home is. */
import type { UserName } from "../../shared/protocol/mod.ts";
import type { HomeVault } from "../home/home_vault.ts";

/** Who a home belongs to. */
export interface Account {
  readonly name: UserName;
  /** HOST:PORT where it was last used. */
  readonly server: string;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** Fingerprint of the identity, 32 bytes. */
  readonly identity: Uint8Array;
  /** scrypt's cost when the password was last stretched: never to be lower (SECURITY P1). */
  readonly log2N: number;
  /** The server's 16 bytes of the salt then: another salt for a known account is refused. Not there in older homes. */
  readonly salt?: Uint8Array;
  /** Which of this account's passwords that is: rises with each change, 0 at the sign-up. */
  readonly serial?: number;
  /** The password was changed elsewhere: the identity's key file here is encrypted by the one before. */
  readonly identityStale?: boolean;
  /** Whether this home left a backup of the identity with the server; unknown in older homes. */
  readonly serverBackup?: boolean;
  /** Since when there is a recovery key, by the server's word; 0 for none, or {@linkcode OWN_RECOVERY_KEY}. */
  readonly recoveryMs?: number;
  /** False between asking the server to enrol this device and its answer. */
  readonly enrolled: boolean;
}

/** Where that is kept, for what changes it: {@linkcode Credentials}. */
export interface AccountBook {
  readonly vault: HomeVault;
  account(): Account | undefined;
  updateAccount(changes: Partial<Account>): void;
}

/** This home has made another recovery key, and has not heard yet since when the server has it. */
export const OWN_RECOVERY_KEY = -1;
