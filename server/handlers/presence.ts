/** Who is here, and hearing when that changes (docs/PROTOCOL.md §14). */
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { parseUserName, type RequestOf, type ResponseOf } from "../../shared/protocol/mod.ts";
import { PRESENCE_GRACE_US } from "../bus/presence_board.ts";
import type { Caller, Services } from "../context.ts";
import { WATCH_TTL_US } from "../presence.ts";

/** watch = { names } → presence | error busy, where too many are watched or a new leader does not know yet */
export async function watch(
  request: RequestOf<"watch">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"presence">> {
  const names = [...new Set(request.names.map(parseUserName).filter((name) => name !== undefined))];
  const online = caller.watch(names) ?? await ask(names, services);
  return { type: "presence", online, ttlMs: WATCH_TTL_US / 1000 };
}

async function ask(names: Parameters<Services["bus"]["among"]>[0], { bus }: Services) {
  const { online, isSure } = await bus.among(names);
  if (isSure) return online;
  throw new RequestError(ErrorCode.busy, "Who is here is not known yet: wait a moment", PRESENCE_GRACE_US / 3000);
}
