/**
 * How far somebody's identity is known here: met, compared, or changed since (SECURITY M1, M8). The pins under it are in `pins.ts`.
 */
import { formatFingerprint, parseSafetyNumber, safetyNumber } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { parseSafetyUri, safetyUri } from "../e2ee/mod.ts";
import { type KeyChangedError, NumberDiffersError, UsageError } from "../errors.ts";
import type { Pins, PinState } from "./pins.ts";

/**
 * "unknown": never met. "unverified": pinned at first contact or accepted later, never compared. "verified": compared by this
 * person. "changed": another identity is shown now; nothing is sent until this person has accepted it. "self": this person.
 */
export type TrustState = "unknown" | "unverified" | "verified" | "changed" | "self";

/** What `--json` prints of it, too. */
export interface PeerTrust {
  readonly name: UserName;
  readonly trust: TrustState;
  /** An identity of theirs was compared that is not the one that counts now. */
  readonly wasVerified: boolean;
  /** Fingerprint of the pinned identity, `SHA256:…`; absent where there is none. */
  readonly fingerprint?: string;
  /** Where it changed: of the one that is shown now. */
  readonly offered?: string;
}

/** What two people compare. Where an identity changed it is the number with the new one: that is the one in question. */
export interface Safety {
  readonly name: UserName;
  /** 60 digits. */
  readonly number: string;
  /** For the QR code. */
  readonly uri: string;
  /** Fingerprint of the identity in it, 32 bytes. */
  readonly identity: Uint8Array;
}

export interface PeopleOptions {
  readonly pins: Pins;
  readonly self: { readonly name: UserName; readonly identity: Uint8Array };
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
}

export class People {
  readonly #options: PeopleOptions;

  constructor(options: PeopleOptions) {
    this.#options = options;
  }

  /** What is known of somebody. Of oneself there is nothing to doubt. */
  trust(name: UserName): PeerTrust {
    const { pins, self } = this.#options;
    if (name === self.name) return ownTrust(self);
    return toTrust(name, pins.state(name));
  }

  /** The same of many, by one look. */
  trusts(names: readonly UserName[]): PeerTrust[] {
    const { pins, self } = this.#options, states = pins.states();
    return names.map((name) => name === self.name ? ownTrust(self) : toTrust(name, states.get(name)));
  }

  /** @returns `undefined` before first contact. Takes some ten milliseconds. */
  safety(name: UserName): Safety | undefined {
    const { pins, self, clusterId } = this.#options;
    if (name === self.name) throw new UsageError("That is you: there is nobody to compare your key with");
    const state = pins.state(name);
    if (state === undefined) return undefined;
    const identity = state.offered ?? state.pinned;
    const number = safetyNumber(clusterId, self, { name, identity });
    return { name, number, uri: safetyUri(self.name, name, number), identity };
  }

  /**
   * Marks somebody's identity as compared.
   *
   * @param identity The one that was in the number.
   * @returns False where another one counts by now: nothing is marked then.
   */
  verify(name: UserName, identity: Uint8Array): boolean {
    return this.#options.pins.verify(name, identity, Date.now());
  }

  /** What stops sending to somebody whose identity changed; `undefined` where it did not. */
  changed(name: UserName): KeyChangedError | undefined {
    const { pins } = this.#options, offered = pins.offered(name);
    return offered && pins.changed(name, offered);
  }

  unverify(name: UserName): void {
    this.#options.pins.unverify(name);
  }
}

/**
 * Compares what somebody typed, pasted or scanned with a number.
 *
 * @throws UsageError where it is no safety number, or that of other people; NumberDiffersError where it is another one.
 */
export function compareNumber({ name, number }: Safety, self: UserName, input: string): void {
  const scanned = parseSafetyUri(input);
  if (scanned !== undefined && !(scanned.names.includes(self) && scanned.names.includes(name))) {
    throw new UsageError(`That is the safety number of ${scanned.names.join(" and ")}, not yours and ${name}'s`);
  }
  const given = scanned?.number ?? parseSafetyNumber(input);
  if (given === undefined) {
    const digits = input.replace(/\D/g, "").length;
    throw new UsageError(`A safety number has 60 digits; these are ${digits}`);
  }
  if (given === number) return;
  throw new NumberDiffersError(
    `The numbers differ: ${name} is NOT verified. Either one of you holds an old key of the other, or somebody is in between. ` +
      `Compare once more with the number on ${name}'s screen; until they are equal, write nothing that the server must not read`,
  );
}

function toTrust(name: UserName, state: PinState | undefined): PeerTrust {
  if (state === undefined) return { name, trust: "unknown", wasVerified: false };
  const { pinned, offered, verified } = state, fingerprint = formatFingerprint(pinned);
  if (offered !== undefined) {
    const wasVerified = verified !== "no";
    return { name, trust: "changed", wasVerified, fingerprint, offered: formatFingerprint(offered) };
  }
  if (verified === "yes") return { name, trust: "verified", wasVerified: false, fingerprint };
  return { name, trust: "unverified", wasVerified: verified === "earlier", fingerprint };
}

function ownTrust({ name, identity }: PeopleOptions["self"]): PeerTrust {
  return { name, trust: "self", wasVerified: false, fingerprint: formatFingerprint(identity) };
}
