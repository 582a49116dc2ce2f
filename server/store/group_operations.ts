/** The calls to the leader that are about groups, and what the bus carries of them. Tags 20 to 34. */
import { array, bool, bytes, optional, type Schema, struct, text, union, varint } from "../../shared/codec/mod.ts";
import { u48 } from "../../shared/codec/mod.ts";
import {
  ASKS_PAGE_MAX,
  COMMIT_BODY_BYTES_MAX,
  DEVICES_PER_USER_MAX,
  GROUP_USERS_MAX,
  KEY_PACKAGE_BYTES_MAX,
  KEY_PACKAGES_MAX,
  TREE_BYTES_MAX,
  WELCOME_BYTES_MAX,
  WELCOMES_MAX,
} from "../../shared/limits.ts";
import {
  ask,
  conversationHead,
  conversationId,
  deviceId,
  messageId,
  userName,
  welcome,
} from "../../shared/protocol/mod.ts";
import type { GroupNews } from "../bus/bus.ts";
import type {
  CommitResult,
  InviteResult,
  StoreCommit,
  StoredWelcome,
  StoreInvitation,
  StoreKeyPackages,
  StoreLeave,
  TakenKeyPackage,
  WantedKeyPackages,
} from "./groups.ts";
import { empty, LIST_ITEMS_MAX, operation, shaped } from "./operation.ts";

/** Names in one call for key packages. */
export const PACKAGE_NAMES_MAX = 16;

const entry = {
  user: userName,
  device: deviceId,
  conversation: conversationId,
  messageId,
  lastCommit: varint,
  body: bytes(COMMIT_BODY_BYTES_MAX),
  nowMs: u48,
};

const storeCommit = shaped<StoreCommit>()(struct({
  ...entry,
  add: array(userName, GROUP_USERS_MAX),
  remove: array(userName, GROUP_USERS_MAX),
  welcomes: array(welcome, WELCOMES_MAX),
  tree: bytes(TREE_BYTES_MAX),
}));

/** Results are unions by `status` in memory; the codec's are by `type`. */
const outcome = union({
  "stored": [1, struct({ seq: varint, timeMs: u48, duplicate: bool })],
  "stale-epoch": [2, struct({ epoch: varint })],
  "not-member": [3, struct({})],
  "unknown-name": [4, struct({ name: userName })],
  "limit": [5, struct({})],
  "not-a-group": [6, struct({})],
  "invited": [7, struct({})],
  "unknown-device": [8, struct({})],
});

const storedWelcome: Schema<StoredWelcome> = struct({
  isInvitation: bool,
  commit: varint,
  body: bytes(WELCOME_BYTES_MAX),
  tree: bytes(TREE_BYTES_MAX),
});

const invitation: Schema<StoreInvitation> = struct({
  user: userName,
  device: deviceId,
  conversation: conversationId,
  lastCommit: varint,
  welcome,
  tree: bytes(TREE_BYTES_MAX),
  nowMs: u48,
});

const keyPackages = shaped<StoreKeyPackages>()(struct({
  user: userName,
  device: deviceId,
  oneTime: array(bytes(KEY_PACKAGE_BYTES_MAX), KEY_PACKAGES_MAX),
  lastResort: optional(bytes(KEY_PACKAGE_BYTES_MAX)),
  nowMs: u48,
}));

const wanted = shaped<WantedKeyPackages>()(struct({
  user: userName,
  device: deviceId,
  conversation: conversationId,
  names: array(userName, PACKAGE_NAMES_MAX),
  nowMs: u48,
}));

const taken: Schema<TakenKeyPackage> = struct({
  user: userName,
  device: deviceId,
  keyPackage: bytes(KEY_PACKAGE_BYTES_MAX),
  lastResort: bool,
});

const place = struct({ conversation: conversationId, device: deviceId });

export const groupOperations = {
  createGroup: operation(
    20,
    struct({ id: conversationId, user: userName, device: deviceId }),
    optional(conversationHead),
    ({ store }, { id, user, device }) => store.createGroup(id, user, device),
  ),
  commit: operation(21, storeCommit, outcome, ({ store }, commit) => store.commit(commit).then(typed)),
  leave: operation(
    22,
    struct(entry) as Schema<StoreLeave>,
    outcome,
    ({ store }, leave) => store.leave(leave).then(typed),
  ),
  members: operation(
    23,
    struct({ user: userName, conversation: conversationId, after: text(1024), limit: varint }),
    optional(array(userName, LIST_ITEMS_MAX)),
    ({ store }, { user, conversation, after, limit }) => store.members(user, conversation, after, limit),
  ),
  welcome: operation(
    24,
    struct({ user: userName, device: deviceId, conversation: conversationId }),
    optional(storedWelcome),
    ({ store }, { user, device, conversation }) => store.welcome(user, device, conversation),
    WELCOME_BYTES_MAX + TREE_BYTES_MAX,
  ),
  welcomesWaiting: operation(
    25,
    struct({ user: userName, device: deviceId, limit: varint }),
    array(conversationId, LIST_ITEMS_MAX),
    ({ store }, { user, device, limit }) => store.welcomesWaiting(user, device, limit),
  ),
  invite: operation(26, invitation, outcome, ({ store }, invitation) => store.invite(invitation).then(typed)),
  putKeyPackages: operation(
    27,
    keyPackages,
    struct({ oneTime: varint, lastResort: bool }),
    ({ store }, packages) => store.putKeyPackages(packages),
  ),
  takeKeyPackages: operation(
    28,
    wanted,
    array(taken, PACKAGE_NAMES_MAX * DEVICES_PER_USER_MAX),
    ({ store }, wanted) => store.takeKeyPackages(wanted),
    PACKAGE_NAMES_MAX * DEVICES_PER_USER_MAX * KEY_PACKAGE_BYTES_MAX,
  ),
  ask: operation(
    29,
    ask,
    text(16) as Schema<"waits" | "refused" | "limit">,
    ({ store }, ask) => store.ask(ask),
  ),
  asks: operation(
    30,
    struct({ user: userName, conversation: optional(conversationId), after: optional(place), limit: varint }),
    array(ask, ASKS_PAGE_MAX),
    ({ store }, { user, conversation, after, limit }) => store.asks(user, conversation, after, limit),
  ),
  dropAsk: operation(
    31,
    struct({ user: userName, conversation: conversationId, device: deviceId }),
    struct({}),
    ({ store }, { user, conversation, device }) => store.dropAsk(user, conversation, device).then(empty),
  ),
  sweep: operation(
    32,
    struct({ nowMs: u48 }),
    struct({ isMore: bool }),
    ({ store }, { nowMs }) => store.sweep(nowMs).then((isMore) => ({ isMore })),
  ),
};

/** What the bus carries from the leader to the servers. */
export const groupNewsSchema = shaped<GroupNews>()(union({
  asked: [1, struct({ ask, members: array(userName, LIST_ITEMS_MAX) })],
  welcomed: [
    2,
    struct({
      conversation: conversationId,
      devices: array(struct({ user: userName, device: deviceId }), LIST_ITEMS_MAX),
    }),
  ],
  dismissed: [3, struct({ conversation: conversationId, seq: varint, users: array(userName, LIST_ITEMS_MAX) })],
  historyWaits: [4, struct({ devices: array(struct({ user: userName, device: deviceId }), LIST_ITEMS_MAX) })],
}));

type Outcome = typeof outcome extends Schema<infer T> ? T : never;

/** As the link has it. */
export function typed<T extends CommitResult | InviteResult>({ status: type, ...rest }: T): Outcome {
  return { type, ...rest } as Outcome;
}

/** ... and as the contract has it. */
export function untyped<T extends CommitResult | InviteResult>({ type: status, ...rest }: Outcome): T {
  return { status, ...rest } as unknown as T;
}
