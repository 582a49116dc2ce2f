/** Who there is, who is online, and what keys to seal for. That a name exists is no secret here (SECURITY P3). */
import { PAGE_ENTRIES_MAX } from "../../shared/limits.ts";
import { parseUserName, type RequestOf, type ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";

/** users = { after, onlineOnly } → a page of names in order, with who is online on any server */
export async function users(
  request: RequestOf<"users">,
  _caller: Caller,
  services: Services,
): Promise<ResponseOf<"users">> {
  const online = new Set(await services.bus.online());
  const names = request.onlineOnly
    ? [...online].filter((name) => name > request.after).sort().slice(0, PAGE_ENTRIES_MAX)
    : await services.store.users(request.after, PAGE_ENTRIES_MAX);
  return {
    type: "users",
    users: names.map((name) => ({ name, online: online.has(name) })),
    more: names.length === PAGE_ENTRIES_MAX,
  };
}

/** directory = { names } → public keys of those that exist, in the order asked */
export async function directory(
  request: RequestOf<"directory">,
  _caller: Caller,
  services: Services,
): Promise<ResponseOf<"directory">> {
  const names = request.names.map(parseUserName).filter((name) => name !== undefined);
  return { type: "directory", entries: await services.store.directory(names) };
}
