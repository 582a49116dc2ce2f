/** A group survives its disk: after every step what is loaded from rows goes on exactly like what was in memory. */
import assert from "node:assert/strict";
import { changesOf, forgetOldEpochs, type Group, loadGroup } from "../../../../client/e2ee/mls/mod.ts";
import { DecodeError } from "../../../../shared/codec/mod.ts";
import { assertAgree, everybodyDoes, mlsFor, NOW_MS, Person } from "./people.ts";

/** A person whose group is written and read back at every change: rows are all that is kept. */
class Stored extends Person {
  readonly rows = new Map<string, Uint8Array>();
  #last: Group | undefined;
  /** Of the last {@linkcode save}. */
  written = 0;
  puts: string[] = [];

  save(): void {
    const { put, drop } = changesOf(this.#last, this.group!);
    for (const key of drop) {
      assert(this.rows.delete(key), `${key} was dropped and is not there`);
      assert(!put.has(key));
    }
    this.written = 0;
    this.puts = [...put.keys()].map((key) => key.split("/")[0]!).sort();
    for (const [key, row] of put) {
      this.rows.set(key, row);
      this.written += row.length;
    }
    this.#last = this.group;
  }

  restart(): void {
    this.group = loadGroup(this.mls, this.device, new Map([...this.rows].map(([key, row]) => [key, row.slice()])));
    // What was loaded writes the very rows that it was loaded from.
    const { put, drop } = changesOf(undefined, this.group);
    assert.equal(drop.size, 0);
    assert.deepEqual(new Map([...put].sort()), new Map([...this.rows].sort()));
    this.#last = this.group;
  }
}

async function group(size: number): Promise<[Stored, ...Person[]]> {
  const mls = await mlsFor(), { device } = await Person.make(mls, "alice");
  const alice = await new Stored(mls, "alice", device).create();
  const others = await Promise.all(Array.from({ length: size - 1 }, (_, i) => Person.make(mls, `m${i}`)));
  await everybodyDoes([alice], alice, { add: others });
  alice.save();
  return [alice, ...others];
}

Deno.test("loadGroup() goes on where the group was: messages, commits of others and own ones, past epochs", async () => {
  const [alice, bob, carol] = await group(3) as [Stored, Person, Person], everyone = [alice, bob, carol];
  const overtaken = await bob.seal("overtaken"), next = await bob.seal("next");
  assert.equal((await alice.receive(next)).kind, "message");
  alice.save();
  alice.restart();
  assert.equal((await alice.receive(overtaken)).kind, "message");
  alice.save();
  alice.restart();
  assert.equal((await alice.receive(overtaken)).kind, "refused");
  const early = await carol.seal("early");
  for (let round = 0; round < 6; round++) {
    await everybodyDoes(everyone, round % 2 === 0 ? bob : alice, {});
    alice.save();
    alice.restart();
    assertAgree(everyone);
    if (round === 3) assert.equal((await alice.receive(early)).kind, "message", "four epochs ago");
    const said = await alice.seal(`round ${round}`);
    alice.save();
    alice.restart();
    assert.equal((await bob.receive(said)).kind, "message");
  }
  const epochs = [...alice.rows.keys()].filter((key) => key.startsWith("epoch/"));
  assert.equal(epochs.length, 5, "this one and four past ones");
});

Deno.test("loadGroup() brings a pending commit back, and it wins or loses like any other", async () => {
  const [alice, bob, carol] = await group(3) as [Stored, Person, Person], dave = await Person.make(alice.mls, "dave");
  const mine = await alice.propose({ add: [dave] });
  alice.save();
  alice.restart();
  const said = await bob.seal("meanwhile");
  assert.equal((await alice.receive(said)).kind, "message");
  alice.save();
  alice.restart();
  for (const member of [alice, bob, carol]) assert.equal((await member.receive(mine.body)).kind, "commit");
  await dave.join(mine);
  alice.save();
  alice.restart();
  assertAgree([alice, bob, carol, dave]);
  assert.equal((await alice.receive(said)).kind, "refused", "its key was used before the epoch ended");
  const lost = await alice.propose({});
  alice.save();
  alice.restart();
  const won = await bob.propose({});
  for (const member of [alice, bob, carol, dave]) {
    const outcome = await member.receive(won.body);
    assert(outcome.kind === "commit");
    assert.equal(outcome.lost !== undefined, member === alice);
    assert.equal((await member.receive(lost.body)).kind, "late");
  }
  alice.save();
  alice.restart();
  assertAgree([alice, bob, carol, dave]);
});

Deno.test("changesOf() a message is one small row, and no secret of a past epoch stays", async () => {
  const [alice, bob, ...others] = await group(12) as [Stored, Person, ...Person[]];
  const body = await alice.seal("hello");
  alice.save();
  assert.deepEqual(alice.puts, ["ratchet"]);
  assert(alice.written < 200, `${alice.written} bytes`);
  assert.equal((await bob.receive(body)).kind, "message");
  const { initSecret, exporterSecret, epochAuthenticator } = alice.group!.state.keySchedule;
  const secrets = [initSecret, exporterSecret, epochAuthenticator].map((secret) => secret.toHex());
  await everybodyDoes([alice, bob, ...others], bob, {});
  alice.save();
  const disk = [...alice.rows.values()].map((row) => row.toHex()).join(" ");
  for (const secret of secrets) assert(!disk.includes(secret));
  assert(disk.includes(alice.authenticator));
  // What would let somebody resume the group is not kept at all.
  assert.equal(alice.group!.state.keySchedule.resumptionPsk.length, 0);
  for (const past of alice.group!.state.historicalReceiverData.values()) assert.equal(past.resumptionPsk.length, 0);
  assert(!disk.includes(alice.device.leafPkcs8.slice(-32).toHex()), "the signature key lies elsewhere");
});

Deno.test("loadGroup() refuses rows that are missing or cut", async () => {
  const [alice] = await group(3) as [Stored, ...Person[]];
  for (const key of alice.rows.keys()) {
    const without = new Map(alice.rows), cut = new Map(alice.rows);
    without.delete(key);
    cut.set(key, alice.rows.get(key)!.slice(0, -1));
    for (const rows of [without, cut]) {
      // A past epoch that is not there was forgotten.
      if (rows === without && key === "epoch/0") continue;
      assert.throws(() => loadGroup(alice.mls, alice.device, rows), DecodeError, key);
    }
  }
});

Deno.test("forgetOldEpochs() forgets an epoch that ended more than seven days ago, on disk too", async () => {
  const [alice, bob] = await group(2) as [Stored, Person], late = await bob.seal("late");
  await everybodyDoes([alice, bob], bob, {});
  alice.save();
  const week = 7 * 24 * 3600 * 1000, rows = alice.rows.size;
  assert.equal(forgetOldEpochs(alice.group!, NOW_MS + week), alice.group);
  alice.group = forgetOldEpochs(alice.group!, NOW_MS + week + 1);
  alice.save();
  assert(alice.rows.size < rows);
  assert.deepEqual([...alice.rows.keys()].filter((key) => /^(epoch|tree|ratchet)\/[01]/.test(key)), []);
  alice.restart();
  assert.deepEqual(await alice.receive(late), { kind: "refused", reason: "epoch is gone" });
  assert.equal((await alice.receive(await bob.seal("now"))).kind, "message");
});
