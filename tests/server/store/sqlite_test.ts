import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { silentLogger } from "../../../shared/log.ts";
import { storeContract } from "./contract.ts";
import { Told } from "./fixtures.ts";

storeContract("SqliteStore", async () => {
  const directory = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  const told = new Told();
  const store = new SqliteStore(new SqliteDatabase(`${directory}/store.db`), { listener: told, logger: silentLogger });
  return {
    store,
    told,
    settle: () => Promise.resolve(),
    close: async () => {
      await store.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
});
