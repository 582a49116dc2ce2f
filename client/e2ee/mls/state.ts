/**
 * How a group lies on disk (SECURITY M11, M12): rows of a key and bytes, and what to write when one group replaces another.
 *
 * For each epoch: one record of secrets, one list of the nodes of its tree, and a ratchet for each leaf. A node is stored
 * once under its hash, whichever epochs it stands in, so an epoch costs the nodes that changed and not the tree. A message
 * sealed or opened changes one ratchet: a row of some 200 bytes, whatever the group's size. A pending commit is an epoch too.
 *
 * The device's signature key is in none of them. Whoever stores the rows seals them.
 */
import type { ClientState, GroupContext, Node, RatchetTree } from "ts-mls";
import { encode as encodeWith } from "ts-mls/codec/tlsEncoder.js";
import { decodeGroupContext, encodeGroupContext } from "ts-mls/groupContext.js";
import { decodeKeySchedule, encodeKeySchedule } from "ts-mls/keySchedule.js";
import { decodePrivateKeyPath, privateKeyPathEncoder } from "ts-mls/privateKeyPath.js";
import { decodeNode, encodeNode } from "ts-mls/ratchetTree.js";
import { array, bytes, decode, DecodeError, encode, struct, union } from "../../../shared/codec/mod.ts";
import { sha256 } from "../../../shared/crypto/mod.ts";
import { type Group, NO_RATCHET } from "./group.ts";
import { clientConfig, EPOCHS_KEPT, type Mls, type OwnDevice } from "./profile.ts";
import { decodeRatchet, encodeRatchet } from "./ratchet_row.ts";
import { decodeMeta, encodeMeta } from "./meta_row.ts";
import { decodeWhole } from "./wire.ts";

/** Rows to write and to delete, in one transaction. Keys are short texts without blanks. */
export interface Changes {
  readonly put: ReadonlyMap<string, Uint8Array>;
  readonly drop: ReadonlySet<string>;
}

/** What replaces `before` on disk by `after`; all of `after` where nothing is there yet. */
export function changesOf(before: Group | undefined, after: Group): Changes {
  const changes = { put: new Map<string, Uint8Array>(), drop: new Set<string>() };
  if (before === undefined || metaRefs(before).some((ref, index) => ref !== metaRefs(after)[index])) {
    changes.put.set("meta", encodeMeta(after));
  }
  const old = before === undefined ? NONE : epochsOf(before), now = epochsOf(after);
  for (const number of new Set([...old.keys(), ...now.keys()])) {
    compareEpochs(changes, number, old.get(number), now.get(number));
  }
  compareNodes(changes, [...old.values()], [...now.values()]);
  return changes;
}

/** The group that rows hold. @throws DecodeError where they are not what {@linkcode changesOf} wrote. */
export function loadGroup(mls: Mls, device: OwnDevice, rows: ReadonlyMap<string, Uint8Array>): Group {
  const load = new Loader(mls, device, rows);
  const { epoch, endedMs, pending } = decodeMeta(load.row("meta"));
  const state = load.state(epoch), past: ClientState["historicalReceiverData"] = new Map();
  for (const key of rows.keys()) {
    const number = /^epoch\/(\d+)$/.exec(key)?.[1];
    if (number !== undefined && Number(number) < epoch) past.set(BigInt(number), load.past(Number(number)));
  }
  const ordered = new Map([...past].sort(([a], [b]) => a < b ? -1 : 1));
  return {
    state: { ...state, historicalReceiverData: ordered },
    endedMs,
    ...(pending === undefined ? {} : {
      pending: {
        digest: pending.digest,
        plan: pending.plan,
        // What is past then is what is present now; `receive` puts the newest in place.
        state: { ...load.state(epoch + 1), historicalReceiverData: withPresent(ordered, state) },
      },
    }),
  };
}

/** An epoch as it is stored; compared by reference, since groups are replaced and never changed. */
interface Epoch {
  /** Everything that its record holds. */
  readonly refs: readonly unknown[];
  readonly record: () => Uint8Array;
  readonly tree: RatchetTree;
  readonly ratchets: ClientState["secretTree"];
}

function epochsOf({ state, pending }: Group): ReadonlyMap<number, Epoch> {
  const epochs = new Map<number, Epoch>([[Number(state.groupContext.epoch), live(state)]]);
  if (pending !== undefined) epochs.set(Number(pending.state.groupContext.epoch), live(pending.state));
  for (const [number, { senderDataSecret, groupContext, ratchetTree, secretTree }] of state.historicalReceiverData) {
    epochs.set(Number(number), {
      refs: ["past", senderDataSecret, groupContext],
      record: () =>
        encode(RECORD, { type: "past", context: encodeGroupContext(groupContext), senderData: senderDataSecret }),
      tree: ratchetTree,
      ratchets: secretTree,
    });
  }
  return epochs;
}

function live(
  { groupContext, keySchedule, privatePath, confirmationTag, ratchetTree, secretTree }: ClientState,
): Epoch {
  return {
    refs: ["live", groupContext, keySchedule, privatePath, confirmationTag],
    record: () =>
      encode(RECORD, {
        type: "live",
        context: encodeGroupContext(groupContext),
        schedule: encodeKeySchedule(keySchedule),
        path: encodeWith(privateKeyPathEncoder)(privatePath),
        tag: confirmationTag,
      }),
    tree: ratchetTree,
    ratchets: secretTree,
  };
}

interface OpenChanges {
  readonly put: Map<string, Uint8Array>;
  readonly drop: Set<string>;
}

function compareEpochs({ put, drop }: OpenChanges, number: number, old?: Epoch, now?: Epoch): void {
  if (now === undefined) drop.add(`epoch/${number}`).add(`tree/${number}`);
  else {
    if (old === undefined || now.refs.some((ref, index) => ref !== old.refs[index])) {
      put.set(`epoch/${number}`, now.record());
    }
    if (now.tree !== old?.tree) put.set(`tree/${number}`, encode(NODE_LIST, now.tree.map(nodeHash)));
  }
  if (old?.ratchets === now?.ratchets) return;
  for (let index = 0; index < Math.max(old?.ratchets.length ?? 0, now?.ratchets.length ?? 0); index += 2) {
    const was = old?.ratchets[index] ?? NO_RATCHET, is = now?.ratchets[index] ?? NO_RATCHET;
    if (was === is) continue;
    const key = `ratchet/${number}/${index / 2}`;
    if (is === NO_RATCHET) drop.add(key);
    else put.set(key, encodeRatchet(is));
  }
}

/** Nodes that came into or went out of every tree. A message changes no tree, and costs nothing here. */
function compareNodes({ put, drop }: OpenChanges, old: readonly Epoch[], now: readonly Epoch[]): void {
  const before = new Set(old.map(({ tree }) => tree)), after = new Set(now.map(({ tree }) => tree));
  if (before.size === after.size && [...after].every((tree) => before.has(tree))) return;
  const held = new Set<string>();
  for (const tree of before) for (const node of tree) if (node !== undefined) held.add(nodeKey(node));
  const wanted = new Set<string>();
  for (const tree of after) {
    for (const node of tree) {
      if (node === undefined) continue;
      const key = nodeKey(node);
      if (!wanted.has(key) && !held.has(key)) put.set(key, encodeNode(node));
      wanted.add(key);
    }
  }
  for (const key of held) if (!wanted.has(key)) drop.add(key);
}

/** Reads rows; a node that several trees share becomes one object again. */
class Loader {
  readonly #nodes = new Map<string, Node>();

  constructor(
    private readonly mls: Mls,
    private readonly device: OwnDevice,
    private readonly rows: ReadonlyMap<string, Uint8Array>,
  ) {}

  row(key: string): Uint8Array {
    const row = this.rows.get(key);
    if (row === undefined) throw new DecodeError(`Stored group has no ${key}`);
    return row;
  }

  state(epoch: number): ClientState {
    const record = decode(RECORD, this.row(`epoch/${epoch}`));
    if (record.type !== "live") throw new DecodeError(`Stored epoch ${epoch} is over`);
    const ratchetTree = this.#tree(epoch);
    return {
      groupContext: this.#context(record.context, epoch),
      keySchedule: whole(decodeKeySchedule, record.schedule),
      privatePath: whole(decodePrivateKeyPath, record.path),
      confirmationTag: record.tag,
      ratchetTree,
      secretTree: this.#ratchets(epoch, ratchetTree),
      signaturePrivateKey: this.device.leafPkcs8,
      unappliedProposals: {},
      historicalReceiverData: new Map(),
      groupActiveState: { kind: "active" },
      clientConfig: clientConfig(this.mls.credentials),
    };
  }

  past(epoch: number) {
    const record = decode(RECORD, this.row(`epoch/${epoch}`));
    if (record.type !== "past") throw new DecodeError(`Stored epoch ${epoch} is not over`);
    const ratchetTree = this.#tree(epoch);
    return {
      resumptionPsk: new Uint8Array(),
      senderDataSecret: record.senderData,
      groupContext: this.#context(record.context, epoch),
      ratchetTree,
      secretTree: this.#ratchets(epoch, ratchetTree),
    };
  }

  #context(encoded: Uint8Array, epoch: number): GroupContext {
    const context = whole(decodeGroupContext, encoded);
    if (context.epoch !== BigInt(epoch)) throw new DecodeError(`Stored epoch ${epoch} is ${context.epoch}`);
    return context;
  }

  #tree(epoch: number): RatchetTree {
    return decode(NODE_LIST, this.row(`tree/${epoch}`)).map((hash) => {
      if (hash.length === 0) return undefined;
      const key = keyOfHash(hash);
      let node = this.#nodes.get(key);
      if (node === undefined) this.#nodes.set(key, node = whole(decodeNode, this.row(key)));
      return node;
    });
  }

  #ratchets(epoch: number, tree: RatchetTree): ClientState["secretTree"] {
    return tree.map((node, index) =>
      node?.nodeType === "leaf" ? decodeRatchet(this.row(`ratchet/${epoch}/${index / 2}`)) : NO_RATCHET
    );
  }
}

function withPresent(
  past: ClientState["historicalReceiverData"],
  state: ClientState,
): ClientState["historicalReceiverData"] {
  const { groupContext, ratchetTree, secretTree, keySchedule: { senderDataSecret } } = state;
  const present = { groupContext, ratchetTree, secretTree, senderDataSecret, resumptionPsk: new Uint8Array() };
  return new Map([...past, [groupContext.epoch, present] as const].slice(-EPOCHS_KEPT));
}

function metaRefs({ state, pending, endedMs }: Group): readonly unknown[] {
  return [state.groupContext.epoch, pending, endedMs];
}

function whole<T>(decoder: (bytes: Uint8Array, offset: number) => [T, number] | undefined, encoded: Uint8Array): T {
  const value = decodeWhole(decoder, encoded);
  if (value === undefined) throw new DecodeError("Stored group is damaged");
  return value;
}

function nodeKey(node: Node): string {
  return keyOfHash(nodeHash(node));
}

/** First 16 bytes of a node's SHA-256; nothing for a blank one. Nodes are never changed, so it is taken once. */
function nodeHash(node: Node | undefined): Uint8Array {
  if (node === undefined) return BLANK;
  let hash = hashes.get(node);
  if (hash === undefined) hashes.set(node, hash = sha256(encodeNode(node)).slice(0, 16));
  return hash;
}

function keyOfHash(hash: Uint8Array): string {
  return `node/${hash.toHex()}`;
}

const hashes = new WeakMap<Node, Uint8Array>();
const BLANK = new Uint8Array();
const NONE: ReadonlyMap<number, Epoch> = new Map();

const NODE_LIST = array(bytes(16), 1 << 17);
const RECORD_BYTES_MAX = 1 << 20;
const RECORD = union({
  live: [1, struct({ context: bytes(RECORD_BYTES_MAX), schedule: bytes(4096), path: bytes(1 << 16), tag: bytes(64) })],
  past: [2, struct({ context: bytes(RECORD_BYTES_MAX), senderData: bytes(64) })],
});
