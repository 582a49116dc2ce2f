/** Key packages (docs/PROTOCOL.md §15.2): what a device leaves so that others can add it while it is away (SECURITY M10). */
import { parseUserName, type RequestOf, type ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";

/** putKeyPackages = { oneTime, lastResort } → keyPackageStock, once they are on disk */
export async function putKeyPackages(
  { oneTime, lastResort }: RequestOf<"putKeyPackages">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"keyPackageStock">> {
  const { user, device } = sessionOf(caller), nowMs = services.nowMs();
  const stock = await services.store.putKeyPackages({ user, device, oneTime, lastResort, nowMs });
  return { type: "keyPackageStock", ...stock };
}

/** takeKeyPackages = { conversation, names } → keyPackages, of each device that left one */
export async function takeKeyPackages(
  request: RequestOf<"takeKeyPackages">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"keyPackages">> {
  const { user, device } = sessionOf(caller), { conversation } = request;
  const names = [...new Set(request.names.map(parseUserName).filter((name) => name !== undefined))];
  const nowMs = services.nowMs();
  const packages = await services.store.takeKeyPackages({ user, device, conversation, names, nowMs });
  return { type: "keyPackages", packages };
}
