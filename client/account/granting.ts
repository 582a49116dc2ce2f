/**
 * Letting another machine in as a device of this person (docs/PROTOCOL.md §18, SECURITY P10): by the code that it shows, or by digits
 * that both show. It is certified, stood in for, and handed what its home needs.
 */
import {
  encodeKeyStatement,
  type LinkGrant,
  type LinkOffer,
  linkPlace,
  openLinkOffer,
  sealLinkGrant,
  sha256,
  signApproval,
} from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import type { DeviceId } from "../../shared/protocol/mod.ts";
import { FastChatError, RefusedError, UsageError } from "../errors.ts";
import type { Link } from "../network/link.ts";
import type { KeyLog } from "../trust/key_log.ts";
import type { Self } from "../trust/keyring.ts";
import { accountKeyOf } from "./account_key.ts";
import { compareAsOld, type CompareOptions, type LinkServer } from "./comparison.ts";
import type { Credentials } from "./credentials.ts";
import { withOwnIdentity } from "./own_identity.ts";

export interface GrantingOptions {
  readonly credentials: Credentials;
  readonly keyLog: KeyLog;
  readonly self: Self;
  readonly link: Link;
}

/** Who sits at this device while two are compared. */
export interface People extends Pick<CompareOptions, "agree" | "signal" | "nowMs"> {
  /** The other one can come now. */
  onOpen?(): void;
}

/** A device that is to be let in. */
interface Newcomer {
  readonly offer: LinkOffer;
  /** Where it waits, 32 bytes. */
  readonly place: Uint8Array;
  seal(grant: LinkGrant): Uint8Array | undefined;
}

export class Granting {
  readonly #options: GrantingOptions;

  constructor(options: GrantingOptions) {
    this.#options = options;
  }

  /**
   * Lets the device in that shows a code.
   *
   * @param code From {@linkcode parseLinkCode}.
   * @throws WrongPasswordError; UsageError where this device may not; RefusedError where no device shows that code.
   */
  async byCode(code: string, password: string): Promise<DeviceId> {
    const { link } = this.#options, place = linkPlace(code);
    await this.#requireRight();
    const { offer: sealed } = await link.ask<"linkFind">({ type: "linkFind", place });
    const offer = openLinkOffer(sealed, code);
    if (offer === undefined) throw new FastChatError("What waits under that code is not the device that shows it");
    // Granted before, and its answer was lost on the way here or there.
    if (this.#history()?.devices.has(offer.device)) return offer.device;
    return await this.#admit({ offer, place, seal: (grant) => sealLinkGrant(grant, offer) }, password);
  }

  /**
   * Lets a device in that comes within two minutes, once people have agreed on both that the same digits are shown.
   *
   * @throws WrongPasswordError; UsageError where this device may not; NumberDiffersError, TimedOutError: nothing was granted.
   */
  async byDigits(password: string, { agree, onOpen = () => {}, signal, nowMs }: People): Promise<DeviceId> {
    const { credentials, link, self } = this.#options;
    await this.#requireRight();
    // Looked at before: a wrong one is no reason to compare anew. It is not kept open while people look at screens.
    await withOwnIdentity(credentials, link, password, async () => {});
    const { comparison, place } = await compareAsOld({
      server: serverOver(link),
      user: self.name,
      clusterId: self.clusterId,
      agree,
      onOpen,
      signal,
      nowMs,
    });
    return await this.#admit({ ...comparison, place }, password);
  }

  async #admit({ offer, place, seal }: Newcomer, password: string): Promise<DeviceId> {
    const { credentials, keyLog, link, self } = this.#options, { clusterId, name: user } = self;
    const { device, leafKey, envelopeKey } = offer, timeMs = Date.now();
    await withOwnIdentity(credentials, link, password, async (identity) => {
      const certificate = await identity.certify({
        clusterId,
        user,
        device: { id: device, leafKey, envelopeKey },
        nowMs: timeMs,
      });
      const approval = signApproval(self.keys.leaf, { clusterId, user }, {
        device,
        certificate: sha256(certificate),
        by: self.keys.id,
        timeMs,
      });
      const account = credentials.account()!;
      const grant = seal({
        user,
        clusterId,
        identity: identity.fingerprint,
        identityPem: new TextEncoder().encode(await identity.toPem(password)),
        salt: account.salt!,
        log2N: account.log2N,
        serial: account.serial ?? 0,
        accountKey: accountKeyOf(identity.pkcs8, clusterId).privateKey,
      });
      if (grant === undefined) throw new FastChatError("The device under that code has a key that is none");
      await link.ask<"linkGrant">({
        type: "linkGrant",
        place,
        certificate,
        approval: encodeKeyStatement(approval),
        grant,
      });
    });
    await keyLog.catchUp();
    return device;
  }

  /** @throws UsageError for a device that nobody has stood in for. */
  async #requireRight(): Promise<void> {
    const { keyLog, self } = this.#options;
    await keyLog.catchUp();
    if (this.#history()?.devices.get(self.keys.id)?.approvedAt !== undefined) return;
    throw new UsageError("This device was added by password itself: another one must approve it first");
  }

  #history() {
    const { keyLog, self } = this.#options;
    return keyLog.history(self.name);
  }
}

/** What a device that is logged in may ask. */
function serverOver(link: Link): LinkServer {
  return {
    meet: async (name, commitment) => (await link.ask<"linkMeet">({ type: "linkMeet", name, commitment })).letter,
    letter: async (place, letter) => (await link.ask<"linkLetter">({ type: "linkLetter", place, letter })).letter,
    offer: () => Promise.reject(new TypeError("Only a device that wants in leaves an offer")),
    async find(place) {
      try {
        return (await link.ask<"linkFind">({ type: "linkFind", place })).offer;
      } catch (error) {
        if (error instanceof RefusedError && error.code === ErrorCode.notFound) return undefined;
        throw error;
      }
    },
  };
}
