/** The stored row that says which epoch a group is in, when past ones ended, and which own commit is pending. */
import {
  array,
  bytes,
  decode,
  DecodeError,
  encode,
  fixedBytes,
  hex,
  optional,
  struct,
  u48,
  u8,
  varint,
} from "../../../shared/codec/mod.ts";
import { deviceId, userName } from "../../../shared/protocol/mod.ts";
import { decodeNotes, encodeNotes } from "./commit_notes.ts";
import { epochOf, type Group, type Plan } from "./group.ts";
import { GROUP_INFO_EXTENSION, groupInfoExtension, readGroupInfo } from "./group_info.ts";

export interface Meta {
  readonly epoch: number;
  readonly endedMs: ReadonlyMap<number, number>;
  readonly pending: { readonly digest: Uint8Array; readonly plan: Plan } | undefined;
}

export function encodeMeta(group: Group): Uint8Array {
  const { pending, endedMs } = group;
  return encode(META, {
    version: VERSION,
    epoch: epochOf(group),
    ended: [...endedMs].map(([epoch, ms]) => ({ epoch, ms })),
    pending: pending === undefined ? undefined : { digest: pending.digest, ...flat(pending.plan) },
  });
}

/** @throws DecodeError where the row is not what {@linkcode encodeMeta} wrote. */
export function decodeMeta(row: Uint8Array): Meta {
  const { version, epoch, ended, pending } = decode(META, row);
  if (version !== VERSION) throw new DecodeError(`Stored group is of version ${version}`);
  return {
    epoch,
    endedMs: new Map(ended.map((entry) => [entry.epoch, entry.ms])),
    pending: pending === undefined ? undefined : { digest: pending.digest, plan: unflat(pending) },
  };
}

function flat({ by, change, notes }: Plan) {
  return {
    by,
    added: [...change.added],
    removed: [...change.removed],
    info: change.info === undefined ? undefined : groupInfoExtension(change.info).extensionData,
    notes: encodeNotes(notes),
  };
}

function unflat({ by, added, removed, info, notes }: ReturnType<typeof flat>): Plan {
  const read = decodeNotes(notes);
  if (read === undefined) throw new DecodeError("Stored commit has no notes");
  const extension = info && { extensionType: GROUP_INFO_EXTENSION, extensionData: info };
  return {
    by,
    change: { by: "member", added, removed, ...(extension === undefined ? {} : { info: readGroupInfo([extension]) }) },
    notes: read,
  };
}

const VERSION = 1;
const DEVICES_MAX = 1 << 16;
const DEVICE = struct({ user: userName, device: deviceId, identity: hex(32), serial: varint, notAfterMs: u48 });
const META = struct({
  version: u8,
  epoch: varint,
  ended: array(struct({ epoch: varint, ms: u48 }), 64),
  pending: optional(struct({
    digest: fixedBytes(32),
    by: DEVICE,
    added: array(DEVICE, DEVICES_MAX),
    removed: array(varint, DEVICES_MAX),
    info: optional(bytes(1 << 16)),
    notes: bytes(1 << 16),
  })),
});
