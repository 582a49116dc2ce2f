/** What this device knows of a conversation beside the group's keys. Table `mls_conversations`. */
import {
  array,
  bool,
  bytes,
  decode,
  encode,
  fixedBytes,
  type Infer,
  type Schema,
  struct,
  text,
  u48,
  u8,
  varint,
} from "../../../shared/codec/mod.ts";
import { type ConversationId, type DeviceId, deviceId, userName } from "../../../shared/protocol/mod.ts";
import type { Database } from "../../home/database.ts";
import type { Vault } from "../../home/vault.ts";

/** Why nothing is sent. */
export const Trouble = {
  none: 0,
  /** A row of a later epoch came: a commit was kept from this device, or it could not follow one. */
  withheld: 1,
  /** The log holds more of this device than its state: an older copy of the home was put back. */
  rolledBack: 2,
  /** Somebody was shown another history, group or key log. */
  fork: 3,
  /** This device or its user was removed. */
  removed: 4,
} as const;

/** Rows that are remembered of a kind: the newest. */
export const LISTED_MAX = 256;

/** What a leave notice said in homes of earlier versions. */
const FORMER_LEAVE = struct({ seq: varint, user: userName });
const LEAVE = struct({
  seq: varint,
  user: userName,
  device: deviceId,
  /** What it has signed (see `mls/leave_proof.ts`); empty where it has signed nothing that holds. */
  proof: bytes(64),
});

const fieldsWith = <T>(leave: Schema<T>) => ({
  version: u8,
  /** The newest row that was taken. */
  seq: varint,
  /** Rolling hash up to it, since the newest commit. */
  history: fixedBytes(32),
  /** Whether it is known: not before one came in, nor behind rows that the server has removed, until the next commit. */
  isTraced: bool,
  /** The newest row with a commit, valid or not: what the next one must name. */
  lastCommit: varint,
  /** The row by which this device came in: what was before, it cannot judge. */
  joined: varint,
  trouble: u8,
  troubleText: text(512),
  /** Of this device's last message. Begins again with each leaf. */
  counter: varint,
  /** Rows with commits for this epoch that did not count. */
  skipped: array(varint, LISTED_MAX),
  /** Whose leave notice stands in which row. */
  leaves: array(leave, LISTED_MAX),
  /** Of this epoch and the last ones. */
  authenticators: array(struct({ epoch: varint, value: fixedBytes(16) }), 8),
  /** When this device's keys were new, and what it has sealed under them. */
  keysMs: u48,
  keysUsed: varint,
  /** Its keys are to be replaced with the next commit: it came in by a package that others may have used. */
  keysDue: bool,
  /** A message of somebody else's was opened here. */
  heard: bool,
  /** The placeholder for what cannot be read was shown. */
  gapShown: bool,
  /** Rows that could not be opened since. */
  missed: varint,
  /** Up to here nothing counts any more: the server was restored from a backup, and groups are made again behind it. */
  base: varint,
});
const STATE = struct(fieldsWith(LEAVE));
const FORMER_STATE = struct(fieldsWith(FORMER_LEAVE));

export type ConversationState = Omit<Infer<typeof STATE>, "version">;

export const NEW_STATE: ConversationState = {
  seq: 0,
  history: new Uint8Array(32),
  isTraced: false,
  lastCommit: 0,
  joined: 0,
  trouble: Trouble.none,
  troubleText: "",
  counter: 0,
  skipped: [],
  leaves: [],
  authenticators: [],
  keysMs: 0,
  keysUsed: 0,
  keysDue: false,
  heard: false,
  gapShown: false,
  missed: 0,
  base: 0,
};

export class StateRows {
  constructor(private readonly db: Database, private readonly vault: Vault) {}

  load(id: ConversationId): ConversationState | undefined {
    const row = this.db.get("SELECT state FROM mls_conversations WHERE id = ?", id);
    if (row === undefined) return undefined;
    const encoded = this.vault.open(row["state"] as Uint8Array, context(id));
    if (encoded[0] !== FORMER_VERSION) {
      const { version: _, ...state } = decode(STATE, encoded);
      return state;
    }
    const { version: _, ...state } = decode(FORMER_STATE, encoded);
    return {
      ...state,
      leaves: state.leaves.map((leave) => ({ ...leave, device: NO_DEVICE, proof: new Uint8Array() })),
    };
  }

  /** Inside the caller's transaction. */
  write(id: ConversationId, state: ConversationState): void {
    const bytes = encode(STATE, {
      version: VERSION,
      ...state,
      skipped: state.skipped.slice(-LISTED_MAX),
      leaves: state.leaves.slice(-LISTED_MAX),
      authenticators: state.authenticators.slice(-8),
    });
    this.db.run(
      "INSERT INTO mls_conversations (id, state) VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
      id,
      this.vault.seal(bytes, context(id)),
    );
  }

  all(): ConversationId[] {
    return this.db.all("SELECT id FROM mls_conversations").map((row) => row["id"] as ConversationId);
  }
}

function context(id: ConversationId): string {
  return `mls_conversations.state ${id}`;
}

const VERSION = 2;
const FORMER_VERSION = 1;
const NO_DEVICE = "0".repeat(32) as DeviceId;
