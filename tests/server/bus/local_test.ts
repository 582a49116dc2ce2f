import { Hub } from "../../../server/bus/hub.ts";
import { LocalBus } from "../../../server/bus/local.ts";
import { busContract } from "./contract.ts";

busContract("LocalBus", () => {
  const hub = new Hub();
  return Promise.resolve({
    servers: [new LocalBus(hub), new LocalBus(hub), new LocalBus(hub)] as const,
    store: hub,
    settle: () => Promise.resolve(),
    close: () => Promise.resolve(),
  });
});
