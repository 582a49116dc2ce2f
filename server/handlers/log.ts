/** Reading the log (docs/PROTOCOL.md §7.2): offline delivery, history and catching up are all this one request. */
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { READ_BYTES_MAX, READ_RECORDS_MAX } from "../../shared/limits.ts";
import type { Record, RequestOf, ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";

/**
 * read = { conversation, after, limit } → records with seq > after, ascending, and whether there are more; where the log begins
 * | restored, where a restored server has no records behind `after` | error forbidden
 */
export async function read(
  request: RequestOf<"read">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"records" | "restored">> {
  const { user } = sessionOf(caller);
  const { conversation, after } = request;
  const limit = Math.max(1, Math.min(request.limit, READ_RECORDS_MAX));
  const page = await services.store.read(user, conversation, after, limit);
  if (page === undefined) throw new RequestError(ErrorCode.forbidden, "You are not in this conversation");
  if (page.restored !== undefined) return { type: "restored", begins: page.begins, ...page.restored };
  const { records: found, begins } = page, records = fitting(found);
  const last = records.at(-1);
  if (last === undefined) return { type: "records", records, more: false, begins };
  if (records.length < found.length || found.length === limit) return { type: "records", records, more: true, begins };
  // Fewer than asked for: the end of the log, or the next one was too large to come with these.
  const next = await services.store.read(user, conversation, last.seq, 1);
  const more = next !== undefined && (next.records.length > 0 || next.restored !== undefined);
  return { type: "records", records, more, begins };
}

/** As many from the front as one message holds; always at least one. */
function fitting(records: Record[]): Record[] {
  let bytes = 0, count = 0;
  for (const record of records) {
    bytes += record.body.length;
    if (bytes > READ_BYTES_MAX && count > 0) break;
    count++;
  }
  return count === records.length ? records : records.slice(0, count);
}
