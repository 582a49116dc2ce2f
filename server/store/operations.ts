/**
 * Every call that a server makes to the leader: its number, its shape on the link, and what performs it.
 *
 * All of them may be repeated: a call whose leader died before it answered is made again to the next one.
 */
import { array, bool, bytes, optional, type Reader, type Schema, struct } from "../../shared/codec/mod.ts";
import { fixedBytes, text, u48, union, varint, type Writer } from "../../shared/codec/mod.ts";
import { DecodeError } from "../../shared/codec/mod.ts";
import {
  ACQUAINTED_MAX,
  BACKUP_BYTES_MAX,
  BODY_BYTES_MAX,
  CERTIFICATE_BYTES_MAX,
  COMMIT_BODY_BYTES_MAX,
  DEVICE_NAME_BYTES_MAX,
  DEVICES_PER_USER_MAX,
  IDENTITY_KEY_BYTES_MAX,
  KEY_ENTRIES_MAX,
  KEY_ENTRIES_PER_USER_MAX,
  KEY_ENTRY_BYTES_MAX,
  KEY_LOG_PAGE_MAX,
  LINK_GRANT_BYTES_MAX,
  LINK_OFFER_BYTES_MAX,
  READ_BYTES_MAX,
  RECEIPTS_MAX,
  RECEIPTS_PAGE_MAX,
} from "../../shared/limits.ts";
import {
  conversationHead,
  conversationId,
  credentialChange,
  deviceId,
  directoryEntry,
  ownReceipt,
  receipt,
  record,
  stretching,
  userName,
} from "../../shared/protocol/mod.ts";
import { messageId } from "../../shared/protocol/mod.ts";
import type { DevicesChanged, ReceiptMoved, SessionsEnded, TypingHint } from "../bus/bus.ts";
import { archiveOperations } from "./archive_operations.ts";
import { groupOperations } from "./group_operations.ts";
import { historyOperations } from "./history_operations.ts";
import { empty, LIST_ITEMS_MAX, type Operation, operation, shaped } from "./operation.ts";
import type {
  Account,
  AppendResult,
  DeviceStanding,
  KeyChange,
  KeyEntry,
  KeyLogPage,
  Link,
  LinkGranted,
  LiveSession,
  LogPage,
  NewDevice,
  NewRecovery,
  NewUser,
  Session,
  StoreAppend,
  StoredCredentials,
} from "./store.ts";

const device: Schema<NewDevice> = struct({ id: deviceId, certificate: bytes(CERTIFICATE_BYTES_MAX) });

/** A sealed hash or backup carries a few bytes more than what is sealed. */
const sealed = (bytesMax: number): Schema<Uint8Array> => bytes(bytesMax + 256);

const newUser: Schema<NewUser> = struct({
  name: userName,
  stretching,
  passwordHash: sealed(256),
  identityKey: bytes(IDENTITY_KEY_BYTES_MAX),
  backup: sealed(BACKUP_BYTES_MAX),
  device,
  nowMs: u48,
});

const account = shaped<Account>()(struct({
  name: userName,
  stretching,
  passwordHash: sealed(256),
  identityKey: bytes(IDENTITY_KEY_BYTES_MAX),
  backup: sealed(BACKUP_BYTES_MAX),
  devices: array(device, DEVICES_PER_USER_MAX),
}));

const session: Schema<Session> = struct({
  tokenHash: fixedBytes(32),
  user: userName,
  device: deviceId,
  expiresMs: u48,
});

const liveSession: Schema<LiveSession> = struct({
  tokenHash: fixedBytes(32),
  user: userName,
  device: deviceId,
  expiresMs: u48,
  generation: u48,
});

const generation = struct({ generation: u48 });

const newRecovery: Schema<NewRecovery> = struct({
  proofHash: sealed(256),
  backup: sealed(BACKUP_BYTES_MAX),
  device: deviceId,
  nowMs: u48,
});

const credentials = shaped<StoredCredentials>()(struct({
  recovery: optional(struct({ proofHash: sealed(256), backup: sealed(BACKUP_BYTES_MAX), madeMs: u48 })),
  password: optional(struct({ serial: varint, statement: bytes(512), change: credentialChange })),
}));

/** What was expected of the two travels as two, of which one is there. */
const passwordChange = struct({
  name: userName,
  expectedPasswordHash: optional(sealed(256)),
  expectedRecovery: optional(sealed(256)),
  stretching,
  serial: varint,
  statement: bytes(512),
  passwordHash: sealed(256),
  backup: sealed(BACKUP_BYTES_MAX),
  device: deviceId,
  newDevice: optional(device),
  endOthers: bool,
  keep: optional(fixedBytes(32)),
  nowMs: u48,
});

const storeAppend: Schema<StoreAppend> = struct({
  conversation: conversationId,
  messageId,
  expectedEpoch: varint,
  body: bytes(BODY_BYTES_MAX),
  user: userName,
  device: deviceId,
  nowMs: u48,
});

/** Names that one `directory` call asks for; {@linkcode RemoteStore} splits longer lists. */
export const DIRECTORY_NAMES_MAX = 64;

const logPage = shaped<LogPage>()(struct({
  records: array(record, LIST_ITEMS_MAX),
  begins: varint,
  restored: optional(struct({ kept: varint, madeMs: u48, restoredMs: u48 })),
}));

const keyLogPage = shaped<KeyLogPage>()(
  struct({
    entries: array(struct({ user: userName, hash: fixedBytes(32) }), KEY_LOG_PAGE_MAX),
    head: fixedBytes(32),
    length: varint,
  }),
);
// A user's, too: revocations may go beyond their bound, but not beyond the devices that the bound allows.
const keyEntries = array(
  struct({ number: varint, entry: bytes(KEY_ENTRY_BYTES_MAX) }),
  2 * KEY_ENTRIES_PER_USER_MAX,
) as Schema<KeyEntry[]>;
const keyChange = shaped<KeyChange>()(struct({
  user: userName,
  after: varint,
  entry: bytes(KEY_ENTRY_BYTES_MAX),
  effect: union({
    approve: [1, struct({ device: deviceId })],
    revoke: [2, struct({ device: deviceId })],
    policy: [3, struct({ approval: bool })],
    rotate: [
      4,
      struct({
        identityKey: bytes(IDENTITY_KEY_BYTES_MAX),
        backup: sealed(BACKUP_BYTES_MAX),
        device,
        keep: fixedBytes(32),
      }),
    ],
  }),
}));
const deviceStanding = struct({
  certificate: bytes(CERTIFICATE_BYTES_MAX),
  standing: text(16) as Schema<DeviceStanding["standing"]>,
});
const linkGranted: Schema<LinkGranted> = struct({
  user: userName,
  device: deviceId,
  sealed: bytes(LINK_GRANT_BYTES_MAX),
});
const link: Schema<Link> = struct({ offer: bytes(LINK_OFFER_BYTES_MAX), grant: optional(linkGranted) });
const deviceName = { device: deviceId, name: text(DEVICE_NAME_BYTES_MAX), signature: fixedBytes(64) };

const nothing = struct({});
const page = { limit: varint };
const names = array(userName, LIST_ITEMS_MAX);

export const operations = {
  ...groupOperations,
  ...archiveOperations,
  ...historyOperations,
  createUser: operation(
    1,
    newUser,
    text(16) as Schema<"created" | "name-taken">,
    ({ store }, user) => store.createUser(user),
  ),
  account: operation(2, struct({ name: userName }), optional(account), ({ store }, { name }) => store.account(name)),
  addDevice: operation(
    3,
    struct({ name: userName, device, identityKey: optional(bytes(IDENTITY_KEY_BYTES_MAX)) }),
    text(16) as Schema<"added" | "unapproved" | "limit" | "id-taken">,
    ({ store }, { name, device, identityKey }) => store.addDevice(name, device, identityKey),
  ),
  createSession: operation(
    4,
    session,
    generation,
    ({ store }, session) => store.createSession(session).then((generation) => ({ generation })),
  ),
  session: operation(
    5,
    struct({ tokenHash: fixedBytes(32), nowMs: u48 }),
    optional(liveSession),
    ({ store }, { tokenHash, nowMs }) => store.session(tokenHash, nowMs),
  ),
  deleteSession: operation(
    6,
    struct({ tokenHash: fixedBytes(32) }),
    nothing,
    ({ store }, { tokenHash }) => store.deleteSession(tokenHash).then(empty),
  ),
  users: operation(
    7,
    struct({ after: text(1024), ...page }),
    names,
    ({ store }, { after, limit }) => store.users(after, limit),
  ),
  directory: operation(
    8,
    struct({ names: array(userName, DIRECTORY_NAMES_MAX) }),
    array(directoryEntry, DIRECTORY_NAMES_MAX),
    ({ store }, { names }) => store.directory(names),
  ),
  openDirect: operation(
    9,
    struct({ id: conversationId, user: userName, peer: userName, device: optional(deviceId) }),
    optional(conversationHead),
    ({ store }, { id, user, peer, device }) => store.openDirect(id, user, peer, device),
  ),
  conversations: operation(
    10,
    struct({ user: userName, device: deviceId, after: optional(conversationId), ...page }),
    array(conversationHead, LIST_ITEMS_MAX),
    ({ store }, { user, device, after, limit }) => store.conversations(user, device, after, limit),
  ),
  append: {
    tag: 11,
    args: shaped<readonly StoreAppend[]>()(array(storeAppend, LIST_ITEMS_MAX)),
    perform: ({ store }, records) => store.append(records),
    writeResult: writeAppendResults,
    readResult: readAppendResults,
  } as Operation<readonly StoreAppend[], AppendResult[]>,
  read: operation(
    12,
    struct({ user: userName, conversation: conversationId, after: varint, ...page }),
    optional(logPage),
    ({ store }, { user, conversation, after, limit }) => store.read(user, conversation, after, limit),
    Math.max(READ_BYTES_MAX, COMMIT_BODY_BYTES_MAX),
  ),
  setCursors: operation(
    13,
    struct({
      user: userName,
      device: deviceId,
      cursors: array(struct({ conversation: conversationId, seq: varint }), LIST_ITEMS_MAX),
    }),
    nothing,
    ({ store }, { user, device, cursors }) => store.setCursors(user, device, cursors).then(empty),
  ),
  raiseGeneration: operation(
    15,
    struct({ name: userName, keep: optional(fixedBytes(32)) }),
    generation,
    ({ store }, { name, keep }) => store.raiseGeneration(name, keep).then((generation) => ({ generation })),
  ),
  setReceipts: operation(
    16,
    struct({ user: userName, device: deviceId, receipts: array(ownReceipt, RECEIPTS_MAX) }),
    nothing,
    ({ store }, { user, device, receipts }) => store.setReceipts(user, device, receipts).then(empty),
  ),
  receipts: operation(
    17,
    struct({
      user: userName,
      conversations: array(conversationId, RECEIPTS_MAX),
      after: optional(deviceId),
      ...page,
    }),
    array(receipt, RECEIPTS_PAGE_MAX),
    ({ store }, { user, conversations, after, limit }) => store.receipts(user, conversations, after, limit),
  ),
  trim: operation(
    18,
    struct({ nowMs: u48, ageMsMax: optional(varint), bytesMax: optional(varint), recordsMax: varint }),
    struct({ removed: varint }),
    ({ store }, limits) => store.trim(limits).then((removed) => ({ removed })),
  ),
  setRecovery: operation(
    42,
    struct({ name: userName, recovery: newRecovery }),
    nothing,
    ({ store }, { name, recovery }) => store.setRecovery(name, recovery).then(empty),
  ),
  credentials: operation(
    43,
    struct({ name: userName }),
    optional(credentials),
    ({ store }, { name }) => store.credentials(name),
  ),
  changePassword: operation(
    44,
    passwordChange,
    text(16) as Schema<"changed" | "stale" | "limit" | "id-taken">,
    ({ store }, { expectedPasswordHash, expectedRecovery, ...rest }) => {
      const expected = expectedPasswordHash === undefined
        ? { recoveryProofHash: expectedRecovery ?? new Uint8Array() }
        : { passwordHash: expectedPasswordHash };
      return store.changePassword({ ...rest, expected });
    },
  ),
  /** Not the store's but the bus's: the leader knows who is where. */
  among: operation(
    19,
    struct({ names }),
    struct({ online: names, isSure: bool }),
    ({ hub }, { names }) => Promise.resolve(hub.presence.among(names)),
  ),
  keyLog: operation(
    35,
    struct({ after: varint, ...page }),
    keyLogPage,
    ({ store }, { after, limit }) => store.keyLog(after, limit),
  ),
  keyEntries: operation(
    36,
    struct({ numbers: array(varint, KEY_ENTRIES_MAX) }),
    keyEntries,
    ({ store }, { numbers }) => store.keyEntries(numbers),
  ),
  keyEntriesOf: operation(
    37,
    struct({ name: userName }),
    keyEntries,
    ({ store }, { name }) => store.keyEntriesOf(name),
  ),
  changeKeys: operation(
    38,
    keyChange,
    text(16) as Schema<"done" | "moved" | "limit">,
    ({ store }, change) => store.changeKeys(change),
  ),
  device: operation(
    39,
    struct({ name: userName, id: deviceId }),
    optional(deviceStanding),
    ({ store }, { name, id }) => store.device(name, id),
  ),
  nameDevice: operation(
    40,
    struct({ user: userName, ...deviceName }),
    nothing,
    ({ store }, { user, device, ...named }) => store.nameDevice(user, device, named).then(empty),
  ),
  offerLink: operation(
    53,
    struct({ place: fixedBytes(32), offer: bytes(LINK_OFFER_BYTES_MAX), nowMs: u48 }),
    optional(link),
    ({ store }, { place, offer, nowMs }) => store.offerLink(place, offer, nowMs),
  ),
  link: operation(
    54,
    struct({ place: fixedBytes(32), nowMs: u48 }),
    optional(link),
    ({ store }, { place, nowMs }) => store.link(place, nowMs),
  ),
  replaceLink: operation(
    65,
    struct({ place: fixedBytes(32), offer: bytes(LINK_OFFER_BYTES_MAX), untilMs: u48, nowMs: u48 }),
    struct({ kept: bool }),
    ({ store }, { place, offer, untilMs, nowMs }) =>
      store.replaceLink(place, offer, untilMs, nowMs).then((kept) => ({ kept })),
  ),
  grantLink: operation(
    55,
    struct({ place: fixedBytes(32), grant: linkGranted, nowMs: u48 }),
    struct({ waits: bool }),
    ({ store }, { place, grant, nowMs }) => store.grantLink(place, grant, nowMs).then((waits) => ({ waits })),
  ),
  deviceNames: operation(
    41,
    struct({ name: userName }),
    array(struct(deviceName), DEVICES_PER_USER_MAX),
    ({ store }, { name }) => store.deviceNames(name),
  ),
  online: operation(14, nothing, names, ({ hub }) => Promise.resolve(hub.online().slice(0, LIST_ITEMS_MAX))),
};

export { LIST_ITEMS_MAX, type Operation, type Served } from "./operation.ts";
export { groupNewsSchema } from "./group_operations.ts";

/** By number, for the leader. `undefined` for one that this version does not know. */
export function operationByTag(tag: number): Operation<unknown, unknown> | undefined {
  return BY_TAG.get(tag);
}

/** What the bus carries from the leader to the servers. */
export const receiptMovedSchema = shaped<ReceiptMoved>()(
  struct({ receipt, members: array(userName, LIST_ITEMS_MAX) }),
);
export const devicesChangedSchema = shaped<DevicesChanged>()(struct({
  user: userName,
  conversations: array(
    struct({ id: conversationId, epoch: varint, members: array(userName, LIST_ITEMS_MAX) }),
    LIST_ITEMS_MAX,
  ),
  keyLogLength: varint,
  acquainted: array(userName, ACQUAINTED_MAX),
}));

export const typingSchema: Schema<TypingHint> = shaped<TypingHint>()(struct({
  conversation: conversationId,
  user: userName,
  members: array(userName, LIST_ITEMS_MAX),
  active: bool,
}));

export const sessionsEndedSchema: Schema<SessionsEnded> = shaped<SessionsEnded>()(struct({
  user: userName,
  generation: u48,
  keep: optional(fixedBytes(32)),
  device: optional(deviceId),
  change: optional(credentialChange),
}));

/** Appends answer at the highest rate of all: two numbers each, and no struct walked. */
function writeAppendResults(writer: Writer, results: readonly AppendResult[]): void {
  writer.varint(results.length);
  for (const result of results) {
    if (result.status === "stored") {
      writer.u8(result.duplicate ? Status.Duplicate : Status.Stored);
      writer.varint(result.seq);
      writer.u48(result.timeMs);
    } else if (result.status === "stale-epoch") {
      writer.u8(Status.StaleEpoch);
      writer.varint(result.epoch);
    } else {
      writer.u8(Status.NotMember);
    }
  }
}

function readAppendResults(reader: Reader): AppendResult[] {
  const count = reader.varint();
  if (count > LIST_ITEMS_MAX) throw new DecodeError(`List has ${count} items, at most ${LIST_ITEMS_MAX}`);
  const results: AppendResult[] = [];
  for (let at = 0; at < count; at++) {
    const status = reader.u8();
    switch (status) {
      case Status.Stored:
      case Status.Duplicate: {
        const duplicate = status === Status.Duplicate;
        results.push({ status: "stored", seq: reader.varint(), timeMs: reader.u48(), duplicate });
        break;
      }
      case Status.StaleEpoch:
        results.push({ status: "stale-epoch", epoch: reader.varint() });
        break;
      case Status.NotMember:
        results.push({ status: "not-member" });
        break;
      default:
        throw new DecodeError(`Append result is ${status}`);
    }
  }
  return results;
}

enum Status {
  Stored,
  Duplicate,
  StaleEpoch,
  NotMember,
}

const BY_TAG = new Map<number, Operation<unknown, unknown>>(
  Object.values(operations).map((entry) => [entry.tag, entry as unknown as Operation<unknown, unknown>]),
);
