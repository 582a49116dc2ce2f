/**
 * Committed records as a frame carries them from the leader to a server: a count, and each with those who are to hear it.
 *
 *     record ‖ varint 0 ‖ names          few of them
 *     record ‖ varint n ‖ names?         the n-th long list of this frame; with the names where it is the next new one
 *
 * Many records in a row are of one group, and its list would be most of the frame. The hub hands out the same array until somebody
 * comes or goes, so who it is need not be compared.
 */
import { array, DecodeError, read, type Reader, write, type Writer } from "../../shared/codec/mod.ts";
import { record, type UserName, userName } from "../../shared/protocol/mod.ts";
import type { Committed } from "../bus/bus.ts";
import { LIST_ITEMS_MAX } from "./operation.ts";

const names = array(userName, LIST_ITEMS_MAX);

/** Where a frame that begins with item `from` has to end, so that it is about {@linkcode FRAME_BYTES}; at least one fits. */
export function frameEnd(items: readonly Committed[], from: number): number {
  const lists = new Set<readonly UserName[]>();
  let end = from, bytes = 0;
  while (end < items.length && (end === from || bytes < FRAME_BYTES)) {
    const { record, members } = items[end++]!;
    bytes += ROW_BYTES + record.body.length;
    if (members.length <= FEW || lists.has(members)) continue;
    lists.add(members);
    bytes += members.length * NAME_BYTES;
  }
  return end;
}

export function writeCommitted(writer: Writer, items: readonly Committed[], from: number, end: number): void {
  const lists = new Map<readonly UserName[], number>();
  writer.varint(end - from);
  for (let at = from; at < end; at++) {
    const { record: row, members } = items[at]!;
    write(record, writer, row);
    const known = members.length <= FEW ? 0 : lists.get(members);
    writer.varint(known ?? lists.size + 1);
    if (known === undefined) lists.set(members, lists.size + 1);
    if (known === undefined || known === 0) write(names, writer, members as UserName[]);
  }
}

/** @throws DecodeError */
export function readCommitted(reader: Reader): Committed[] {
  const count = reader.varint(), committed: Committed[] = [], lists: UserName[][] = [];
  for (let item = 0; item < count; item++) {
    const row = read(record, reader), list = reader.varint();
    if (list > lists.length + 1) throw new DecodeError(`Record is for list ${list} of ${lists.length}`);
    const members = list > 0 && list <= lists.length ? lists[list - 1]! : read(names, reader);
    if (list > lists.length) lists.push(members);
    committed.push({ record: row, members });
  }
  return committed;
}

/** Lists that are written out each time. */
const FEW = 8;
/** Of bodies and lists; a frame may have four times as much. */
const FRAME_BYTES = 4 << 20;
/** About what a record takes beside its body, with a list of two. */
const ROW_BYTES = 128;
/** The longest name, and its length. */
const NAME_BYTES = 33;
