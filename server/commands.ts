/**
 * The table of all requests: who may ask, how large it may be, how often, and who answers.
 *
 * A request above its size is treated as one that its schema refuses: the connection ends.
 */
import {
  ARCHIVE_CHUNK_BYTES_MAX,
  ARCHIVE_KEY_BYTES_MAX,
  ASK_BYTES_MAX,
  BACKUP_BYTES_MAX,
  BODY_BYTES_MAX,
  CERTIFICATE_BYTES_MAX,
  COMMIT_BODY_BYTES_MAX,
  COMMIT_BYTES_MAX,
  DEVICE_NAME_BYTES_MAX,
  DEVICES_PER_USER_MAX,
  HISTORY_PARTS_MAX,
  IDENTITY_KEY_BYTES_MAX,
  KEY_ENTRIES_MAX,
  KEY_ENTRY_BYTES_MAX,
  KEY_PACKAGE_BYTES_MAX,
  KEY_PACKAGES_MAX,
  LINK_GRANT_BYTES_MAX,
  LINK_LETTER_BYTES_MAX,
  LINK_OFFER_BYTES_MAX,
  NAME_CHARS_MAX,
  PAGE_ENTRIES_MAX,
  READ_BYTES_MAX,
  RECEIPTS_MAX,
  TREE_BYTES_MAX,
  WATCH_NAMES_MAX,
  WELCOME_BYTES_MAX,
} from "../shared/limits.ts";
import type { RequestOf, RequestType, Response } from "../shared/protocol/mod.ts";
import type { Caller, Services } from "./context.ts";
import * as archive from "./handlers/archive.ts";
import * as auth from "./handlers/auth.ts";
import * as conversations from "./handlers/conversations.ts";
import * as credentials from "./handlers/credentials.ts";
import * as directory from "./handlers/directory.ts";
import * as groups from "./handlers/groups.ts";
import * as history from "./handlers/history.ts";
import * as keys from "./handlers/keys.ts";
import * as keyPackages from "./handlers/key_packages.ts";
import * as links from "./handlers/links.ts";
import * as log from "./handlers/log.ts";
import * as presence from "./handlers/presence.ts";
import * as receipts from "./handlers/receipts.ts";
import type { RightsNeeded } from "./rights.ts";

export type Handler<K extends RequestType> = (
  request: RequestOf<K>,
  caller: Caller,
  services: Services,
) => Response | Promise<Response>;

export interface Command<K extends RequestType> {
  readonly rights: RightsNeeded;
  /** Of the encoded request. */
  readonly bytesMax: number;
  /** What the answer may hold, where that is much. */
  readonly answerBytesMax?: number;
  /** Which of a connection's buckets it takes from. Handlers of accounts look at the address besides (SECURITY P7). */
  readonly rate: "request" | "append";
  readonly handle: Handler<K>;
}

export type Commands = { readonly [K in Exclude<RequestType, "append">]: Command<K> } & {
  /** Appends go to the store in batches (append_queue.ts) and have no handler of their own. */
  readonly append: Omit<Command<"append">, "handle">;
};

/** Room for tags, lengths and numbers beside what is counted. */
const FRAME_BYTES = 256;
const NAME_BYTES = 4 * NAME_CHARS_MAX;

export const commands: Commands = {
  stretch: { rights: "none", bytesMax: FRAME_BYTES + NAME_BYTES, rate: "request", handle: auth.stretch },
  register: {
    rights: "none",
    bytesMax: FRAME_BYTES + NAME_BYTES + IDENTITY_KEY_BYTES_MAX + BACKUP_BYTES_MAX + CERTIFICATE_BYTES_MAX,
    rate: "request",
    handle: auth.register,
  },
  login: { rights: "none", bytesMax: FRAME_BYTES + NAME_BYTES, rate: "request", handle: auth.login },
  backup: { rights: "enrolling", bytesMax: FRAME_BYTES, rate: "request", handle: auth.backup },
  enrol: { rights: "enrolling", bytesMax: 1024 + CERTIFICATE_BYTES_MAX, rate: "request", handle: auth.enrol },
  resume: { rights: "none", bytesMax: FRAME_BYTES + NAME_BYTES, rate: "request", handle: auth.resume },
  logout: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: auth.logout },
  users: { rights: "session", bytesMax: FRAME_BYTES + NAME_BYTES, rate: "request", handle: directory.users },
  directory: {
    rights: "session",
    bytesMax: FRAME_BYTES + 17 * NAME_BYTES,
    rate: "request",
    handle: directory.directory,
  },
  openDirect: {
    rights: "session",
    bytesMax: FRAME_BYTES + NAME_BYTES,
    rate: "request",
    handle: conversations.openDirect,
  },
  sync: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: conversations.sync },
  read: {
    rights: "session",
    bytesMax: FRAME_BYTES,
    answerBytesMax: Math.max(READ_BYTES_MAX, COMMIT_BODY_BYTES_MAX),
    rate: "request",
    handle: log.read,
  },
  append: { rights: "session", bytesMax: FRAME_BYTES + BODY_BYTES_MAX, rate: "append" },
  acknowledge: {
    rights: "session",
    bytesMax: FRAME_BYTES + PAGE_ENTRIES_MAX * (16 + 8),
    rate: "request",
    handle: conversations.acknowledge,
  },
  receipts: {
    rights: "session",
    bytesMax: FRAME_BYTES + RECEIPTS_MAX * (16 + 8 + 32 + 8 + 64),
    rate: "request",
    handle: receipts.receipts,
  },
  receiptsOf: {
    rights: "session",
    bytesMax: FRAME_BYTES + RECEIPTS_MAX * 16,
    rate: "request",
    handle: receipts.receiptsOf,
  },
  subscribe: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: conversations.subscribe },
  watch: {
    rights: "session",
    bytesMax: FRAME_BYTES + WATCH_NAMES_MAX * (2 + NAME_BYTES),
    rate: "request",
    handle: presence.watch,
  },
  putKeyPackages: {
    rights: "session",
    bytesMax: FRAME_BYTES + (KEY_PACKAGES_MAX + 1) * (8 + KEY_PACKAGE_BYTES_MAX),
    rate: "request",
    handle: keyPackages.putKeyPackages,
  },
  takeKeyPackages: {
    rights: "session",
    bytesMax: FRAME_BYTES + 17 * NAME_BYTES,
    answerBytesMax: 16 * DEVICES_PER_USER_MAX * KEY_PACKAGE_BYTES_MAX,
    rate: "request",
    handle: keyPackages.takeKeyPackages,
  },
  createGroup: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: groups.createGroup },
  commit: { rights: "session", bytesMax: COMMIT_BYTES_MAX, rate: "request", handle: groups.commit },
  leave: { rights: "session", bytesMax: FRAME_BYTES + BODY_BYTES_MAX, rate: "request", handle: groups.leave },
  welcome: {
    rights: "session",
    bytesMax: FRAME_BYTES,
    answerBytesMax: WELCOME_BYTES_MAX + TREE_BYTES_MAX,
    rate: "request",
    handle: groups.welcome,
  },
  ask: { rights: "session", bytesMax: FRAME_BYTES + ASK_BYTES_MAX, rate: "request", handle: groups.ask },
  asks: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: groups.asks },
  invite: {
    rights: "session",
    bytesMax: FRAME_BYTES + WELCOME_BYTES_MAX + TREE_BYTES_MAX,
    rate: "request",
    handle: groups.invite,
  },
  dropAsk: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: groups.dropAsk },
  members: { rights: "session", bytesMax: FRAME_BYTES + NAME_BYTES, rate: "request", handle: groups.members },
  keyLog: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: keys.keyLog },
  keyEntries: {
    rights: "session",
    bytesMax: FRAME_BYTES + 8 * KEY_ENTRIES_MAX,
    rate: "request",
    handle: keys.keyEntries,
  },
  stateKeys: {
    rights: "session",
    bytesMax: FRAME_BYTES + KEY_ENTRY_BYTES_MAX,
    rate: "request",
    handle: keys.stateKeys,
  },
  rotate: {
    rights: "session",
    bytesMax: FRAME_BYTES + KEY_ENTRY_BYTES_MAX + BACKUP_BYTES_MAX,
    rate: "request",
    handle: keys.rotate,
  },
  nameDevice: {
    rights: "session",
    bytesMax: FRAME_BYTES + DEVICE_NAME_BYTES_MAX,
    rate: "request",
    handle: keys.nameDevice,
  },
  devices: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: keys.devices },
  linkOffer: {
    rights: "none",
    bytesMax: FRAME_BYTES + LINK_OFFER_BYTES_MAX,
    rate: "request",
    handle: links.linkOffer,
  },
  linkFind: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: links.linkFind },
  linkGrant: {
    rights: "session",
    bytesMax: FRAME_BYTES + CERTIFICATE_BYTES_MAX + KEY_ENTRY_BYTES_MAX + LINK_GRANT_BYTES_MAX,
    rate: "request",
    handle: links.linkGrant,
  },
  linkLogin: { rights: "none", bytesMax: FRAME_BYTES, rate: "request", handle: links.linkLogin },
  linkMeet: { rights: "any", bytesMax: FRAME_BYTES + NAME_BYTES, rate: "request", handle: links.linkMeet },
  linkLetter: {
    rights: "any",
    bytesMax: FRAME_BYTES + LINK_LETTER_BYTES_MAX,
    rate: "request",
    handle: links.linkLetter,
  },
  setRecovery: {
    rights: "session",
    bytesMax: 1024 + BACKUP_BYTES_MAX,
    rate: "request",
    handle: credentials.setRecovery,
  },
  recover: { rights: "none", bytesMax: FRAME_BYTES + NAME_BYTES, rate: "request", handle: credentials.recover },
  finishRecovery: {
    rights: "recovering",
    bytesMax: 2048 + BACKUP_BYTES_MAX + CERTIFICATE_BYTES_MAX,
    rate: "request",
    handle: credentials.finishRecovery,
  },
  credentials: {
    rights: "any",
    bytesMax: FRAME_BYTES + NAME_BYTES,
    rate: "request",
    handle: credentials.credentials,
  },
  changePassword: {
    rights: "session",
    bytesMax: 1024 + BACKUP_BYTES_MAX,
    rate: "request",
    handle: credentials.changePassword,
  },
  ownBackup: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: credentials.ownBackup },
  putHistory: {
    rights: "session",
    bytesMax: FRAME_BYTES + BODY_BYTES_MAX,
    rate: "request",
    handle: history.putHistory,
  },
  history: {
    rights: "session",
    bytesMax: FRAME_BYTES,
    answerBytesMax: READ_BYTES_MAX + BODY_BYTES_MAX,
    rate: "request",
    handle: history.history,
  },
  dropHistory: {
    rights: "session",
    bytesMax: FRAME_BYTES + 8 * HISTORY_PARTS_MAX,
    rate: "request",
    handle: history.dropHistory,
  },
  setArchiveKey: {
    rights: "session",
    bytesMax: FRAME_BYTES + ARCHIVE_KEY_BYTES_MAX,
    rate: "request",
    handle: archive.setArchiveKey,
  },
  putArchiveChunk: {
    rights: "session",
    bytesMax: FRAME_BYTES + ARCHIVE_CHUNK_BYTES_MAX,
    rate: "request",
    handle: archive.putArchiveChunk,
  },
  archive: { rights: "session", bytesMax: FRAME_BYTES, rate: "request", handle: archive.archive },
  archiveChunks: {
    rights: "session",
    bytesMax: FRAME_BYTES,
    answerBytesMax: READ_BYTES_MAX + ARCHIVE_CHUNK_BYTES_MAX,
    rate: "request",
    handle: archive.archiveChunks,
  },
  dropArchive: { rights: "session", bytesMax: 1024, rate: "request", handle: archive.dropArchive },
};
