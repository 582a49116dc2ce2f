import { MemoryStore } from "../../../server/store/memory.ts";
import { storeContract } from "./contract.ts";
import { Told } from "./fixtures.ts";

storeContract("MemoryStore", () => {
  const told = new Told(), store = new MemoryStore(told);
  return Promise.resolve({ store, told, settle: () => Promise.resolve(), close: () => store.close() });
});
