/**
 * Groups, and commits of every conversation (docs/PROTOCOL.md §15). Rights are checked in the store's transaction, and only
 * whether somebody is a member: what members may do, the clients say (SECURITY M9).
 */
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { ASKS_PAGE_MAX, PAGE_ENTRIES_MAX } from "../../shared/limits.ts";
import {
  parseUserName,
  type RequestOf,
  type Response,
  type ResponseOf,
  type UserName,
} from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";
import { AskKind, type CommitResult } from "../store/groups.ts";

/** createGroup = { conversation } → conversation | error nameTaken, busy */
export async function createGroup(
  { conversation }: RequestOf<"createGroup">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"conversation">> {
  const { user, device } = sessionOf(caller);
  services.throttles.groupMade(user, services.clock.nowUs());
  const head = await services.store.createGroup(conversation, user, device);
  if (head === undefined) throw new RequestError(ErrorCode.nameTaken, "There is a conversation with this id");
  return { type: "conversation", head };
}

/** commit = { conversation, messageId, lastCommit, body, add, remove, welcomes, tree } → stored | error staleEpoch, forbidden, unknownName, limit, malformed */
export async function commit(
  request: RequestOf<"commit">,
  caller: Caller,
  services: Services,
): Promise<Response> {
  const { user, device } = sessionOf(caller);
  const { conversation, messageId, lastCommit, body, welcomes, tree } = request;
  const add = request.add.map(parseName), remove = request.remove.map(parseName);
  const going = new Set(remove);
  if (add.some((name) => going.has(name))) {
    throw new RequestError(ErrorCode.malformed, "Nobody can come and go with one commit");
  }
  const nowMs = services.nowMs();
  const result = await services.store.commit({
    user,
    device,
    conversation,
    messageId,
    lastCommit,
    body,
    add,
    remove,
    welcomes,
    tree,
    nowMs,
  });
  return answer(request, result, services);
}

/** leave = { conversation, messageId, lastCommit, body } → stored | error staleEpoch, forbidden, malformed */
export async function leave(
  request: RequestOf<"leave">,
  caller: Caller,
  services: Services,
): Promise<Response> {
  const { user, device } = sessionOf(caller), { conversation, messageId, lastCommit, body } = request;
  const nowMs = services.nowMs();
  const result = await services.store.leave({ user, device, conversation, messageId, lastCommit, body, nowMs });
  return answer(request, result, services);
}

/** welcome = { conversation } → welcome, empty where there is nothing for this device */
export async function welcome(
  { conversation }: RequestOf<"welcome">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"welcome">> {
  const { user, device } = sessionOf(caller);
  return { type: "welcome", welcome: await services.store.welcome(user, device, conversation) };
}

/** ask = { conversation, kind, body } → ok | error forbidden, limit, busy, malformed */
export async function ask(
  { conversation, kind, body }: RequestOf<"ask">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user, device } = sessionOf(caller), timeMs = services.nowMs();
  if (kind !== AskKind.Member && kind !== AskKind.Link) {
    throw new RequestError(ErrorCode.malformed, `There is no way ${kind} of asking`);
  }
  if (kind === AskKind.Link) services.throttles.askedByLink(user, services.clock.nowUs());
  const outcome = await services.store.ask({ conversation, user, device, kind, body, timeMs });
  if (outcome === "limit") throw new RequestError(ErrorCode.limit, "Too many people wait to be let into this group");
  if (outcome === "waits") return { type: "ok" };
  throw new RequestError(
    ErrorCode.forbidden,
    kind === AskKind.Member ? "You are not in this conversation" : "There is no such group, or you are in it",
  );
}

/** asks = { conversation, after } → asks, and whether there are more */
export async function asks(
  { conversation, after }: RequestOf<"asks">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"asks">> {
  const { user } = sessionOf(caller);
  const asks = await services.store.asks(user, conversation, after, ASKS_PAGE_MAX);
  return { type: "asks", asks, more: asks.length === ASKS_PAGE_MAX };
}

/** invite = { conversation, lastCommit, welcome, tree } → ok | error staleEpoch, forbidden, notFound */
export async function invite(
  { conversation, lastCommit, welcome, tree }: RequestOf<"invite">,
  caller: Caller,
  services: Services,
): Promise<Response> {
  const { user, device } = sessionOf(caller), nowMs = services.nowMs();
  const result = await services.store.invite({ user, device, conversation, lastCommit, welcome, tree, nowMs });
  switch (result.status) {
    case "invited":
      return { type: "ok" };
    case "stale-epoch":
      return stale(result.epoch);
    case "not-member":
      throw notMember();
    case "unknown-device":
      throw new RequestError(ErrorCode.notFound, "No member has this device");
  }
}

/** dropAsk = { conversation, device } → ok */
export async function dropAsk(
  { conversation, device }: RequestOf<"dropAsk">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  await services.store.dropAsk(sessionOf(caller).user, conversation, device);
  return { type: "ok" };
}

/** members = { conversation, after } → users, in order of name, none of them said to be online | error forbidden */
export async function members(
  { conversation, after }: RequestOf<"members">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"users">> {
  const { user } = sessionOf(caller);
  const names = await services.store.members(user, conversation, after, PAGE_ENTRIES_MAX);
  if (names === undefined) throw notMember();
  return {
    type: "users",
    users: names.map((name) => ({ name, online: false })),
    more: names.length === PAGE_ENTRIES_MAX,
  };
}

function answer({ messageId }: RequestOf<"commit" | "leave">, result: CommitResult, services: Services): Response {
  switch (result.status) {
    case "stored":
      services.counters.stored += result.duplicate ? 0 : 1;
      return { type: "stored", messageId, seq: result.seq, timeMs: result.timeMs };
    case "stale-epoch":
      return { ...stale(result.epoch), messageId };
    case "not-member":
      throw notMember();
    case "unknown-name":
      throw new RequestError(ErrorCode.unknownName, `There is nobody called ${result.name}`);
    case "limit":
      throw new RequestError(ErrorCode.limit, "So many people do not fit into one group");
    case "not-a-group":
      throw new RequestError(ErrorCode.malformed, "Nobody comes to a direct conversation or leaves it");
  }
}

function stale(epoch: number): ResponseOf<"error"> {
  const message = "Another commit came first: read it, and try again";
  return { type: "error", code: ErrorCode.staleEpoch, message, retryAfterMs: 0, epoch, messageId: undefined };
}

function notMember(): RequestError {
  return new RequestError(ErrorCode.forbidden, "You are not in this conversation");
}

/** @throws RequestError badName */
function parseName(text: string): UserName {
  const name = parseUserName(text);
  if (name === undefined) throw new RequestError(ErrorCode.unknownName, `There is nobody called ${text}`);
  return name;
}
