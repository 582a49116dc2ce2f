/**
 * FastChat's client library: end-to-end encrypted chat for programs.
 *
 * ```ts
 * import { ChatClient } from "./mod.ts";
 *
 * const chat = await ChatClient.open({
 *   server: "127.0.0.1:9000",
 *   home: "/home/alice/chat", // everything of one person on one machine
 *   name: "alice",
 *   password: "violet otter canyon 42",
 *   register: true, // sign up if the name is new
 * });
 * const { id, seq } = await chat.send("bob", "hi"); // resolves when it is stored durably
 * console.log(id, seq);
 * for await (const event of chat.events()) {
 *   if (event.type === "message") console.log(event.from, event.text);
 * }
 * await chat.close();
 * ```
 *
 * What arrived while nothing was open is not among `events()`: `unshown()` has it, until `markShown()`.
 */
export { ChatClient } from "./chat_client.ts";
export type { OpenOptions } from "./open_options.ts";
export type { SentMessage } from "./talk/confirmations.ts";
export type { Presence } from "./session.ts";
export { LocalHome } from "./local_home.ts";
export type { AckState, AckTarget, Delivery } from "./talk/acks.ts";
export type { DeliveriesOptions } from "./talk/deliveries.ts";
export type { Archive, ArchiveOffer, ArchiveState } from "./archive/archive.ts";
export type { Restored } from "./archive/restorer.ts";
export {
  type LinkByDigitsOptions,
  linkDevice,
  linkDeviceByDigits,
  type Linked,
  type LinkHomeOptions,
  type LinkOptions,
} from "./account/linking.ts";
export type { People } from "./account/granting.ts";
export type { Shared } from "./copies/giver.ts";
export type { DeviceInfo, Rotated } from "./account/devices.ts";
export type { ConversationSummary } from "./talk/shown.ts";
export type { Positioned } from "./talk/message_row.ts";
export type {
  ChangeEvent,
  ChatEvent,
  ConnectionEvent,
  LogEvent,
  MessageEvent,
  MessageState,
  NoticeEvent,
  PresenceEvent,
  RefusedEvent,
  StateEvent,
  TypingEvent,
} from "./events.ts";
export type { Group, GroupDetails, Role } from "./talk/groups.ts";
export type { GroupChange } from "./e2ee/engine.ts";
export type { OutboxItem } from "./talk/outbox.ts";
export type { PeerTrust, Safety, TrustState } from "./trust/people.ts";
export {
  ApprovalNeededError,
  CannotReachError,
  DeviceRevokedError,
  FastChatError,
  type KeyChange,
  KeyChangedError,
  KeyLogError,
  LockedError,
  NotAuthenticatedError,
  NumberDiffersError,
  RefusedError,
  TimedOutError,
  UsageError,
  WrongPasswordError,
  WrongRecoveryKeyError,
} from "./errors.ts";
