/**
 * Whether an identity is the one we know somebody by (SECURITY M1): pure decisions on pins, which the home's database keeps.
 *
 * The first identity seen for a name in a cluster is pinned. Another one later may be a new start or a lying server; nobody
 * but the user can tell, so nothing is sealed for it and nothing of it is shown until they accept it.
 */
import { equalBytes, formatFingerprint } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";

/** Who is known by which identity: the fingerprint pinned for a name, 32 bytes; one's own name has one's own. */
export type PinLookup = (name: UserName) => Uint8Array | undefined;

/** "first": nothing is pinned yet, so pin it. "changed": blocks until the user trusts it. */
export type IdentityVerdict = "first" | "known" | "changed";

/** Judges the identity that a server shows for a name against the pin. */
export function judgeIdentity(pinned: Uint8Array | undefined, offered: Uint8Array): IdentityVerdict {
  if (pinned === undefined) return "first";
  return equalBytes(pinned, offered) ? "known" : "changed";
}

/**
 * Whether the user may accept an identity: only the very one they were shown, so that a server cannot swap it between the
 * warning and the answer.
 */
export function mayTrust(shown: Uint8Array | undefined, offered: Uint8Array): boolean {
  return shown !== undefined && equalBytes(shown, offered);
}

/** Somebody's identity is not the pinned one. Nothing was sealed. */
export class KeyChanged extends Error {
  override readonly name = "KeyChanged";
  /** Whose identity. */
  readonly user: UserName;
  /** Fingerprints, 32 bytes each. */
  readonly pinned: Uint8Array;
  readonly offered: Uint8Array;

  constructor({ user, pinned, offered }: { user: UserName; pinned: Uint8Array; offered: Uint8Array }) {
    super(`The key of ${user} is ${formatFingerprint(offered)}, pinned is ${formatFingerprint(pinned)}`);
    this.user = user;
    this.pinned = pinned;
    this.offered = offered;
  }
}

/** @throws KeyChanged unless `offered` is what is pinned for `user`. */
export function requirePinned(user: UserName, pinned: Uint8Array | undefined, offered: Uint8Array): void {
  if (pinned === undefined) throw new TypeError(`Identity of ${user} is not pinned yet`);
  if (!equalBytes(pinned, offered)) throw new KeyChanged({ user, pinned, offered });
}
