/** Conversations: making them exist, listing them, hearing of them, and how far a device has come (docs/PROTOCOL.md §7.2, §7.3). */
import { directConversationId } from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { PAGE_ENTRIES_MAX } from "../../shared/limits.ts";
import { parseUserName, type RequestOf, type ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";

/** openDirect = { peer } → conversation | error unknownName */
export async function openDirect(
  request: RequestOf<"openDirect">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"conversation">> {
  const { user, device } = sessionOf(caller);
  const peer = parseUserName(request.peer);
  const head = peer === undefined ? undefined : await services.store.openDirect(
    directConversationId(services.clusterId, user, peer),
    user,
    peer,
    device,
  );
  if (head === undefined) throw new RequestError(ErrorCode.unknownName, `There is nobody called ${request.peer}`);
  return { type: "conversation", head };
}

/** sync = { after } → a page of all conversations, in order of id */
export async function sync(
  request: RequestOf<"sync">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"sync">> {
  const { user, device } = sessionOf(caller);
  const heads = await services.store.conversations(user, device, request.after, PAGE_ENTRIES_MAX);
  return { type: "sync", heads, more: heads.length === PAGE_ENTRIES_MAX };
}

/** subscribe = {} → ok; what is committed from now on comes as `deliver` */
export function subscribe(_request: RequestOf<"subscribe">, caller: Caller): ResponseOf<"ok"> {
  caller.subscribe();
  return { type: "ok" };
}

/** acknowledge = { cursors } → ok, once they are on disk */
export async function acknowledge(
  request: RequestOf<"acknowledge">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user, device } = sessionOf(caller);
  await services.store.setCursors(user, device, request.cursors);
  return { type: "ok" };
}
