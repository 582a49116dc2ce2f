/**
 * Receipts (docs/PROTOCOL.md §13): how far devices have come, told to those they talk with. Signatures are for the clients to
 * judge: checking one costs as much as storing ten messages, and a wrong one harms nobody but whoever handed it in.
 */
import { isReceipt } from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { RECEIPTS_PAGE_MAX } from "../../shared/limits.ts";
import type { RequestOf, ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";

/** receipts = { receipts } → ok, once they are on disk | error malformed */
export async function receipts(
  request: RequestOf<"receipts">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user, device } = sessionOf(caller);
  if (!request.receipts.every(isReceipt)) {
    throw new RequestError(ErrorCode.malformed, "A receipt's fields do not fit one another");
  }
  await services.store.setReceipts(user, device, request.receipts);
  return { type: "ok" };
}

/** receiptsOf = { conversations, after } → receipts, and whether there are more; nothing of conversations one is not in */
export async function receiptsOf(
  request: RequestOf<"receiptsOf">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"receipts">> {
  const { user } = sessionOf(caller);
  const { conversations, after } = request;
  const found = await services.store.receipts(user, conversations, after, RECEIPTS_PAGE_MAX);
  return { type: "receipts", receipts: found, more: found.length === RECEIPTS_PAGE_MAX };
}
