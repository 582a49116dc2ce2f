/** History that a device hands to a new one (docs/PROTOCOL.md §20). What is in it, only that device can read. */
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import type { RequestOf, ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";

/** putHistory = { conversation, to, bundle, part, parts, unlessGiven, body } → ok | historyGiven | error forbidden, limit, malformed */
export async function putHistory(
  request: RequestOf<"putHistory">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok"> | ResponseOf<"historyGiven">> {
  const { user, device } = sessionOf(caller), { type: _, ...part } = request;
  if (part.part >= part.parts) throw new RequestError(ErrorCode.malformed, "That bundle has fewer parts");
  const outcome = await services.store.putHistory({ ...part, user, device, nowMs: services.nowMs() });
  switch (outcome) {
    case "kept":
      return { type: "ok" };
    case "given":
      return { type: "historyGiven" };
    case "full":
      throw new RequestError(ErrorCode.limit, "So much history cannot wait for a device: it must take some first");
    case "refused":
      throw new RequestError(ErrorCode.forbidden, "There is no such device of a member of this conversation");
  }
}

/** history = { after } → historyParts */
export async function history(
  { after }: RequestOf<"history">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"historyParts">> {
  const { user, device } = sessionOf(caller);
  return { type: "historyParts", parts: await services.store.history(user, device, after) };
}

/** dropHistory = { numbers, taken } → ok */
export async function dropHistory(
  { numbers, taken }: RequestOf<"dropHistory">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user, device } = sessionOf(caller);
  await services.store.dropHistory(user, device, numbers, taken);
  return { type: "ok" };
}
