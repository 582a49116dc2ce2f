/** Groups on disk: sealed, epoch by epoch, and gone with their keys (SECURITY M11, M12). */
import assert from "node:assert/strict";
import { Database } from "../../../../client/home/database.ts";
import { GroupStore } from "../../../../client/e2ee/groups/group_store.ts";
import * as lib from "../../../../client/e2ee/mls/mod.ts";
import { KeyVault } from "../../../../client/home/vault.ts";
import { systemRandom } from "../../../../shared/crypto/mod.ts";
import { CONVERSATION, everybodyDoes, mlsFor, Person } from "../mls/people.ts";

function withStore(work: (store: GroupStore, database: Database) => Promise<void>): () => Promise<void> {
  return async () => {
    const folder = Deno.makeTempDirSync({ prefix: "fastchat-store-" });
    const database = Database.open(`${folder}/home.db`);
    const vault = new KeyVault(new Uint8Array(32).fill(1));
    try {
      await work(new GroupStore({ database, vault, random: systemRandom }), database);
    } finally {
      database.close();
      Deno.removeSync(folder, { recursive: true });
    }
  };
}

Deno.test(
  "GroupStore.load() gives back what write() put there, after each message and commit",
  withStore(async (store, database) => {
    const mls = await mlsFor(), alice = await (await Person.make(mls, "alice")).create();
    const bob = await Person.make(mls, "bob");
    let before: lib.Group | undefined;
    const keep = () => {
      database.transaction(() => store.write(lib, CONVERSATION, before, alice.group!));
      before = alice.group;
      const loaded = store.load({ lib, mls }, alice.device, CONVERSATION)!;
      assert.equal(lib.epochOf(loaded), alice.epoch);
      assert.equal(loaded.state.keySchedule.epochAuthenticator.toHex(), alice.authenticator);
      return loaded;
    };
    keep();
    await everybodyDoes([alice], alice, { add: [bob] });
    keep();
    for (let epoch = 0; epoch < 7; epoch++) {
      await everybodyDoes([alice, bob], bob, {});
      keep();
      await alice.receive(await bob.seal("hi"));
      alice.group = keep();
      before = alice.group;
    }
    const epochs = database.all("SELECT epoch FROM mls_keys ORDER BY epoch").map((row) => row["epoch"]);
    assert.deepEqual(epochs, [-1, 4, 5, 6, 7, 8], "keys of older epochs are gone");
    assert.equal((await bob.receive(await alice.seal("and back"))).kind, "message");
  }),
);

Deno.test(
  "GroupStore.drop() leaves nothing",
  withStore(async (store, database) => {
    const alice = await (await Person.make(await mlsFor(), "alice")).create();
    database.transaction(() => store.write(lib, CONVERSATION, undefined, alice.group!));
    database.transaction(() => store.drop(CONVERSATION));
    assert.equal(store.load({ lib, mls: alice.mls }, alice.device, CONVERSATION), undefined);
    assert.deepEqual(database.all("SELECT * FROM mls_keys"), []);
  }),
);

Deno.test(
  "GroupStore.load() opens nothing under another vault, nor rows put in one another's place",
  withStore(async (store, database) => {
    const alice = await (await Person.make(await mlsFor(), "alice")).create(), loaded = { lib, mls: alice.mls };
    database.transaction(() => store.write(lib, CONVERSATION, undefined, alice.group!));
    const other = new GroupStore({
      database,
      vault: new KeyVault(new Uint8Array(32).fill(2)),
      random: systemRandom,
    });
    assert.throws(() => other.load(loaded, alice.device, CONVERSATION), /mls_keys/);
    database.run("UPDATE mls_rows SET value = (SELECT value FROM mls_rows WHERE key = 'tree/0') WHERE key = 'epoch/0'");
    store.forget();
    assert.throws(() => store.load(loaded, alice.device, CONVERSATION), /mls_rows.value/);
  }),
);

Deno.test(
  "GroupStore.write() of a message changes one row, whatever the size of the group",
  withStore(async (store, database) => {
    const mls = await mlsFor(), alice = await (await Person.make(mls, "alice")).create();
    const others = await Promise.all(Array.from({ length: 12 }, (_, index) => Person.make(mls, `u${index}`)));
    await everybodyDoes([alice], alice, { add: others });
    database.transaction(() => store.write(lib, CONVERSATION, undefined, alice.group!));
    const rows = () =>
      new Map(database.all("SELECT key, value FROM mls_rows").map((row) => [row["key"], row["value"]]));
    const before = rows(), group = alice.group;
    await alice.seal("hi");
    database.transaction(() => store.write(lib, CONVERSATION, group, alice.group!));
    const changed = [...rows()].filter(([key, value]) =>
      (before.get(key) as Uint8Array).toHex() !== (value as Uint8Array).toHex()
    );
    assert.deepEqual(changed.map(([key]) => key), ["ratchet/1/0"]);
  }),
);
