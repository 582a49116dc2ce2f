/** Commits and what comes with them while the store changes hands: made once, in one order, and heard of by whom they are for. */
import assert from "node:assert/strict";
import { type Backend, openBackend } from "../../../server/store/backend.ts";
import { silentLogger } from "../../../shared/log.ts";
import { inDirectory } from "../../temporary.ts";
import { commit, GROUP, groupOf } from "./groups_contract.ts";
import { bytesOf, deviceOf, nameOf, Told } from "./fixtures.ts";

Deno.test("commits of three servers go on in one order when the leader leaves, each of them once", () =>
  inDirectory(async (dataDir) => {
    const backends: Backend[] = [];
    try {
      for (let server = 0; server < 4; server++) {
        backends.push(await openBackend({ dataDir, serverNumber: server, logger: silentLogger }));
      }
      const [first, ...others] = backends as [Backend, ...Backend[]];
      const names = ["alice", "bob", "carol"], told = new Told();
      await groupOf(first.store, ...names);
      others[0]!.bus.listener = {
        onCommitted: (committed) => told.committed(committed),
        onGroupNews: (news) => told.groupNews(news),
        onReceipts() {},
        onDevicesChanged() {},
        onSessionsEnded() {},
        onPresence() {},
        onTyping() {},
        onGap() {},
      };
      others[0]!.bus.announce(nameOf("carol"), true);
      const won: number[] = [];
      let leaving: Promise<void> | undefined;
      await Promise.all(others.map(async ({ store }, index) => {
        let lastCommit = 1;
        for (let number = 0; number < ROUNDS;) {
          const message = `${index}/${number}`, welcomes = [{ device: deviceOf("carol"), body: bytesOf(message) }];
          const result = await store.commit(commit(names[index]!, { lastCommit, message, welcomes }));
          if (result.status === "stale-epoch") {
            lastCommit = result.epoch;
            continue;
          }
          assert.equal(result.status, "stored");
          won.push(lastCommit = result.status === "stored" ? result.seq : NaN);
          number++;
          if (won.length === ROUNDS) leaving = first.close();
        }
      }));
      await leaving;
      assert.deepEqual(won.toSorted((a, b) => a - b), Array.from({ length: 3 * ROUNDS }, (_, at) => at + 2));
      const last = 3 * ROUNDS + 1, { store } = others[0]!;
      const page = (await store.read(nameOf("carol"), GROUP, 0, 1000))!;
      assert.deepEqual(page.records.map(({ seq }) => seq), Array.from({ length: last }, (_, at) => at + 1));
      assert.equal(new Set(page.records.map(({ messageId }) => messageId)).size, last);
      assert.equal((await store.welcome(nameOf("carol"), deviceOf("carol"), GROUP))?.commit, last);

      // The new leader tells of it as the old one did.
      const removal = await others[1]!.store.commit(commit("alice", { lastCommit: last, remove: ["carol"] }));
      assert.equal(removal.status, "stored");
      while (told.news.at(-1)?.type !== "dismissed") await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(structuredClone(told.news.at(-1)), {
        type: "dismissed",
        conversation: GROUP,
        seq: last + 1,
        users: ["carol"],
      });
      assert.equal(told.records.at(-1)?.record.seq, last + 1);
    } finally {
      for (const backend of backends) await backend.close();
    }
  }));

/** Commits of each server. */
const ROUNDS = 20;
