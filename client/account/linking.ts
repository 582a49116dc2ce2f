/**
 * Linking this machine to somebody's account (docs/PROTOCOL.md §18, SECURITY P10): no password, no identity key in the clear. It shows
 * a code that another device is given, or digits that both show; what grants it there is {@linkcode file://./granting.ts}.
 */
import {
  equalBytes,
  formatLinkCode,
  linkCode,
  type LinkGrant,
  type LinkOffer,
  linkPlace,
  openLinkGrant,
  sealLinkOffer,
  systemRandom,
  x25519,
  x25519FromPrivate,
} from "../../shared/crypto/mod.ts";
import { LINK_COMPARE_MS, LINK_MS } from "../../shared/limits.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { compareAsNew, type LinkServer } from "./comparison.ts";
import { proposeDeviceName } from "./devices.ts";
import { LinkLine, type LinkLineOptions } from "./link_line.ts";
import { DeviceKeys } from "../e2ee/mod.ts";
import { FastChatError, UsageError } from "../errors.ts";
import { homeExists, HomeTraces, openHome } from "../home_parts.ts";
import { pause } from "../pause.ts";
import { formatServerAddress } from "../network/server_address.ts";

/** How to link this machine: by which server, into which home. */
export interface LinkHomeOptions extends Omit<LinkLineOptions, "ms"> {
  /** Where the things of a person with that name are to be. */
  home(name: UserName): string;
  readonly deviceName?: string | undefined;
}

/** And who shows the code. */
export interface LinkOptions extends LinkHomeOptions {
  /** Told once, in groups: to be typed on another device. */
  onCode(code: string): void;
}

/** And who compares the digits. */
export interface LinkByDigitsOptions extends LinkHomeOptions {
  /** Whose device this is to be. */
  readonly name: UserName;
  /** Shows the digits, and asks whether the other device shows the same. */
  agree(digits: string): Promise<boolean>;
  /** Some other device is being compared there; this one waits for the next time. */
  onTaken?(): void;
  /** Milliseconds on any clock: for the two minutes that there are. */
  readonly nowMs?: () => number;
}

export interface Linked {
  readonly home: string;
  readonly name: UserName;
}

/**
 * Waits until another device grants the code, for ten minutes at most, and makes a home that is logged in.
 *
 * @throws TimedOutError, CannotReachError; UsageError where there is a home already; FastChatError where what was handed over is
 * not for this code.
 */
export async function linkDevice(options: LinkOptions): Promise<Linked> {
  const keys = await DeviceKeys.generate(), ephemeral = x25519(systemRandom);
  const offer: LinkOffer = { ephemeral: ephemeral.publicKey, ...publicOf(keys) };
  const code = linkCode(offer), place = linkPlace(code), sealed = sealLinkOffer(offer);
  const line = new LinkLine(options);
  try {
    await line.ask((remote) => remote.ask<"linkOffer">({ type: "linkOffer", place, offer: sealed }));
    options.onCode(formatLinkCode(code));
    const granted = await line.ask(async (remote) => {
      for (;;) {
        const { grant } = await remote.ask<"linkOffer">({ type: "linkOffer", place, offer: sealed });
        if (grant !== undefined) return grant;
        await pause(POLL_MS, line.signal);
      }
    });
    const grant = openLinkGrant(granted, offer, ephemeral);
    if (grant === undefined) {
      throw new FastChatError("What the server handed over was not made for this code: nothing was linked");
    }
    return await settle(grant, keys, line, place, options);
  } finally {
    await line.close();
  }
}

/**
 * Waits until another device of that person compares digits with this one, for ten minutes at most, and makes a home that is logged
 * in.
 *
 * @throws NumberDiffersError unless both people agree, TimedOutError, CannotReachError; UsageError where there is a home already.
 */
export async function linkDeviceByDigits(options: LinkByDigitsOptions): Promise<Linked> {
  const { name, signal, nowMs, agree, onTaken = () => {} } = options;
  refuseHome(options.home(name));
  const keys = await DeviceKeys.generate(), line = new LinkLine({ ...options, ms: LINK_MS + 4 * LINK_COMPARE_MS });
  try {
    const { comparison, granted, place } = await compareAsNew({
      server: serverOver(line),
      user: name,
      device: publicOf(keys),
      agree,
      onTaken,
      signal,
      nowMs,
    });
    const grant = comparison.open(granted);
    if (grant?.user !== name || !equalBytes(grant.clusterId, comparison.granter.clusterId)) {
      throw new FastChatError(
        "What the server handed over is not from the device that was compared: nothing was linked",
      );
    }
    return await settle(grant, keys, line, place, options);
  } finally {
    await line.close();
  }
}

/** What a new device, of which the server knows nothing, may ask. */
function serverOver(line: LinkLine): LinkServer {
  return {
    meet: async (name, commitment) =>
      (await line.ask((remote) => remote.ask<"linkMeet">({ type: "linkMeet", name, commitment }))).letter,
    letter: async (place, letter) =>
      (await line.ask((remote) => remote.ask<"linkLetter">({ type: "linkLetter", place, letter }))).letter,
    offer: async (place, offer) =>
      (await line.ask((remote) => remote.ask<"linkOffer">({ type: "linkOffer", place, offer }))).grant,
    find: () => Promise.reject(new TypeError("Only a device that is logged in looks for others")),
  };
}

function publicOf({ id: device, leafKey, envelopeKey }: DeviceKeys): Omit<LinkOffer, "ephemeral"> {
  return { device, leafKey, envelopeKey };
}

function refuseHome(home: string): void {
  if (homeExists(home)) throw new UsageError(`There is a home already in ${home}: give another one with --home DIR`);
}

/** Makes the home, and its first session. What is there already stays as it is. */
async function settle(
  grant: LinkGrant,
  keys: DeviceKeys,
  line: LinkLine,
  place: Uint8Array,
  options: LinkHomeOptions,
): Promise<Linked> {
  const name = grant.user, home = options.home(name);
  refuseHome(home);
  const traces = new HomeTraces(home), parts = openHome(home), { credentials, database, servers } = parts;
  let isDone = false;
  try {
    const session = await line.ask((remote) =>
      remote.ask<"linkLogin">({
        type: "linkLogin",
        place,
        device: keys.id,
        proof: keys.prove(remote.channel.transcriptHash),
      })
    );
    const { clusterId, identity, identityPem, salt, log2N, serial, accountKey } = grant;
    await credentials.saveIdentityFile(new TextDecoder().decode(identityPem));
    credentials.saveDeviceKeys(keys);
    credentials.saveSession(session);
    servers.accept(options.server, line.fingerprint!, undefined);
    if (options.deviceName !== undefined) proposeDeviceName(database, options.deviceName);
    const server = formatServerAddress(options.server);
    credentials.saveAccount({ name, server, clusterId, identity, salt, log2N, serial, enrolled: true });
    credentials.putAccountKey(identity, x25519FromPrivate(accountKey).publicKey, accountKey, Date.now());
    isDone = true;
    return { home, name };
  } finally {
    database.close();
    if (!isDone) traces.remove();
  }
}

const POLL_MS = 1_000;
