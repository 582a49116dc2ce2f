/** What a person is told of the key log: what it says of themselves, and what of others does not hold (SECURITY M13, P9). */
import { decodeCertificate, equalBytes, sha256 } from "../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../shared/protocol/mod.ts";
import type { NoticeEvent } from "../events.ts";
import type { KeyLog, KeyLogNews } from "./key_log.ts";
import type { Self } from "./keyring.ts";

/** How a device is named to people, and by them: the first digits of its id. */
export function shortDevice(device: DeviceId): string {
  return device.slice(0, SHORT_DIGITS);
}

/** Notices for entries that have come. What this very device stated needs none. */
export function noticesOf(news: readonly KeyLogNews[], self: Self): NoticeEvent[] {
  return news.flatMap((item) => item.user === self.name ? ofOneself(item, self) : ofSomebody(item));
}

/** Own devices that were certified by password alone and that no other has stood in for (P9), in the order in which they came. */
export function unapproved(keyLog: KeyLog, self: Self): DeviceId[] {
  const devices = keyLog.history(self.name)?.devices ?? [];
  return [...devices].flatMap(([device, { endedAt, approvedAt }]) =>
    endedAt !== undefined || approvedAt !== undefined || device === self.keys.id ? [] : [device]
  );
}

/** They are shown at every connection. */
export function unacknowledged(keyLog: KeyLog, self: Self): NoticeEvent[] {
  return unapproved(keyLog, self).map(deviceAdded);
}

/**
 * What is wrong with what the log shows others of this person: an identity that was never the one here (SECURITY P8). However that
 * came into this home, by a backup, a link or a recovery key, it is not the one that others write to.
 */
export function foreignIdentity(keyLog: KeyLog, self: Self): string | undefined {
  const history = keyLog.history(self.name);
  if (history === undefined || [history.identity, ...history.earlier].some((one) => equalBytes(one, self.identity))) {
    return undefined;
  }
  return `The server's key log shows others another identity of ${self.name} than the one in this home: what they send goes to ` +
    "somebody else's keys. Nothing is sent from here: ask whoever runs the server why";
}

/** Identities that others have put in the place of theirs: fingerprints, 32 bytes. */
export function newIdentities(
  news: readonly KeyLogNews[],
  self: Self,
): { readonly name: UserName; readonly identity: Uint8Array }[] {
  return news.flatMap(({ user, said, fault }) =>
    user === self.name || fault !== undefined || said?.type !== "rotate"
      ? []
      : [{ name: user, identity: sha256(decodeCertificate(said.certificate).identityKey) }]
  );
}

/** Whether an entry replaces the identity by which this session goes, from this very device. */
export function isReplaced({ user, said, fault }: KeyLogNews, self: Self): boolean {
  if (user !== self.name || fault !== undefined || said?.type !== "rotate") return false;
  const { device, identityKey } = decodeCertificate(said.certificate);
  return device === self.keys.id && !equalBytes(sha256(identityKey), self.identity);
}

function ofOneself({ number, said, fault }: KeyLogNews, self: Self): NoticeEvent[] {
  if (fault !== undefined) {
    return [notice(
      "key-log",
      `The server's key log says something about you that none of your devices has said (entry ${number}: ${fault}). ` +
        "Somebody tries to speak in your name: tell those you talk with, and whoever runs the server",
    )];
  }
  switch (said!.type) {
    case "device":
    case "approve":
      // New devices are shown until they are acknowledged, by `unacknowledged`.
      return [];
    case "revoke":
      if (said!.device === self.keys.id) return [];
      return [notice("key-log", `Your device ${shortDevice(said!.device)} was revoked`)];
    case "policy":
      return [notice(
        "key-log",
        said!.approval
          ? "From now on a new device of yours counts for nothing until another one approves it"
          : "From now on a new device of yours needs no approval by another one",
      )];
    case "rotate":
      return [notice("key-log", "Your identity was replaced by a new one, signed by the old one")];
  }
}

function ofSomebody({ user, number, said, fault }: KeyLogNews): NoticeEvent[] {
  if (fault !== undefined) {
    const text =
      `The server's key log says something about ${user} that their keys have not signed (entry ${number}: ${fault})`;
    return [{ type: "notice", code: "key-log", name: user, text }];
  }
  if (said?.type !== "rotate") return [];
  const text = `${user} has a new identity, signed by the one you know: verify it again, then accept it with: ` +
    `fastchat trust ${user}`;
  return [{ type: "notice", code: "key-changed", name: user, text }];
}

function deviceAdded(device: DeviceId): NoticeEvent {
  const short = shortDevice(device);
  return {
    ...notice(
      "device-added",
      `A device was added to your account (${short}) with your password. If it is yours: fastchat device approve ${short}. ` +
        `If not, somebody knows your password: fastchat device revoke ${short}, then change it: fastchat passwd`,
    ),
    device,
  };
}

function notice(code: NoticeEvent["code"], text: string): NoticeEvent {
  return { type: "notice", code, text };
}

const SHORT_DIGITS = 8;
