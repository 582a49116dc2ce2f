/**
 * The part of the store's contract (store.ts) about history that a device hands to a new one (docs/PROTOCOL.md §20, SECURITY M15):
 * sealed parts of bundles, kept apart from the log until the device has them. The store cannot read any of it, and judges only who
 * may leave something for whom, and how much.
 */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";

export interface HistoryStore {
  /**
   * Keeps a part for a device, and tells it. The same part again is `kept` and changes nothing, taken or not. `refused` unless both
   * users are members of the conversation (the same one, of a direct conversation) and the device is its user's now. `given`, where
   * asked for with `unlessGiven`: another bundle about that conversation is there, or was taken, as a whole; to a giver of the
   * recipient's own user only one by that user counts. `full`: HISTORY_DEVICE_BYTES_MAX or HISTORY_PARTS_MAX are there for the device,
   * HISTORY_PAIR_BYTES_MAX of them by this user where it is not the device's, or HISTORY_GIVER_BYTES_MAX of this user in all.
   */
  putHistory(part: NewHistoryPart): Promise<"kept" | "given" | "full" | "refused">;

  /** What waits for a device behind a number, in the order in which it came, about READ_BYTES_MAX bytes of it (at least one part). */
  history(user: UserName, device: DeviceId, after: number): Promise<HistoryPart[]>;

  /**
   * A device is done with parts that waited for it. @param isTaken That they were is remembered for as long as they would have been
   * kept, for {@linkcode putHistory}; what was no good is forgotten.
   */
  dropHistory(user: UserName, device: DeviceId, numbers: readonly number[], isTaken: boolean): Promise<void>;
}

export interface NewHistoryPart {
  /** Who gives. */
  readonly user: UserName;
  readonly device: DeviceId;
  readonly conversation: ConversationId;
  /** For whom. */
  readonly to: DeviceId;
  /** 16 random bytes, the same for all parts of one bundle. */
  readonly bundle: MessageId;
  /** From 0, of so many. */
  readonly part: number;
  readonly parts: number;
  readonly body: Uint8Array;
  readonly unlessGiven: boolean;
  readonly nowMs: number;
}

export interface HistoryPart {
  /** Rises; never given out twice. */
  readonly number: number;
  readonly conversation: ConversationId;
  readonly body: Uint8Array;
}
