/** Groups over four real servers with opaque bodies: whoever is dismissed on one server is dismissed on all. */
import assert from "node:assert/strict";
import { type LoadUser, startCluster } from "../../bench/load.ts";
import { connectInhabitants, deviceOf, groupOf, populate } from "../../bench/population.ts";
import { ServerRefusal } from "../../client/network/failures.ts";
import { ErrorCode } from "../../shared/errors.ts";
import { TREE_BYTES_MAX } from "../../shared/limits.ts";
import type { ConversationId, Event, MessageId, ResponseOf } from "../../shared/protocol/mod.ts";
import { eventually } from "./harness.ts";

const GROUP: ConversationId = groupOf(0);

Deno.test("groups: commits, Welcomes, requests and dismissals cross four servers", async () => {
  const cluster = await startCluster(4, {
    // In turn: else four people are on two servers now and then.
    flags: ["--strategy", "round-robin"],
    prepare: (dataDir) => populate(dataDir, { users: 4 }),
  });
  let people: Member[] = [];
  try {
    people = (await connectInhabitants(cluster, 0, 4)).map((user, index) => new Member(user, index));
    const [a, b, c, d] = people as [Member, Member, Member, Member];
    const ports = new Set(people.map(({ user }) => user.remote.channel.peer.port));
    assert.ok(ports.size >= 3, `They are on ${ports.size} servers`);

    for (const person of [b, c]) {
      await person.user.remote.ask<"putKeyPackages">({
        type: "putKeyPackages",
        oneTime: [text(`package of ${person.user.name}`)],
        lastResort: undefined,
      });
    }
    await a.user.remote.ask<"createGroup">({ type: "createGroup", conversation: GROUP });
    const { packages } = await a.user.remote.ask<"takeKeyPackages">({
      type: "takeKeyPackages",
      conversation: GROUP,
      names: [b.user.name, c.user.name, d.user.name],
    });
    assert.deepEqual(packages.map(({ keyPackage }) => new TextDecoder().decode(keyPackage)), [
      `package of ${b.user.name}`,
      `package of ${c.user.name}`,
    ]);
    const tree = new Uint8Array(TREE_BYTES_MAX).fill(5);
    const added = await a.commit({
      add: [b.user.name, c.user.name],
      welcomes: packages.map(({ device, keyPackage }) => ({ device, body: keyPackage })),
      tree,
    });
    for (const person of [b, c]) {
      await person.hears(({ type }) => type === "welcomed");
      const { welcome } = await person.user.remote.ask<"welcome">({ type: "welcome", conversation: GROUP });
      assert.deepEqual([welcome?.commit, welcome?.tree.length, welcome?.tree.at(-1)], [added, TREE_BYTES_MAX, 5]);
    }

    await c.say(added);
    for (const person of [a, b]) await person.hears((event) => event.type === "deliver" && event.record.seq === 2);
    await d.user.remote.ask<"ask">({ type: "ask", conversation: GROUP, kind: 2, body: text("by a link") });
    await b.hears((event) => event.type === "asked" && event.ask.user === d.user.name);

    const removed = await a.commit({ lastCommit: added, remove: [b.user.name] });
    assert.equal(removed, 3);
    await b.hears((event) => event.type === "dismissed" && event.seq === removed);
    await b.hears((event) => event.type === "deliver" && event.record.seq === removed);
    await refused(b.say(removed), ErrorCode.forbidden);
    await refused(c.say(added), ErrorCode.staleEpoch);
    await c.say(removed);
    await a.hears((event) => event.type === "deliver" && event.record.seq === 4);
    const read = (person: Member) =>
      person.user.remote.ask<"read">({ type: "read", conversation: GROUP, after: 0, limit: 100 });
    assert.deepEqual(await seqsOf(read(b)), [1, 2, 3]);
    assert.deepEqual(await seqsOf(read(c)), [1, 2, 3, 4]);
    await refused(read(d), ErrorCode.forbidden);
    assert.equal(b.events.some((event) => event.type === "deliver" && event.record.seq > removed), false);
  } finally {
    for (const { user } of people) user.remote.close();
    await cluster.stop();
  }
});

/** Somebody with a connection, and what they were told. */
class Member {
  readonly events: Event[] = [];
  #said = 0;

  constructor(readonly user: LoadUser, readonly index: number) {
    user.onEvent = (event) => this.events.push(event);
  }

  hears(what: (event: Event) => boolean): Promise<unknown> {
    return eventually(() => this.events.some(what) || undefined, `${this.user.name} hears of it`);
  }

  /** @returns Its number. */
  async commit(
    options: Partial<{
      lastCommit: number;
      add: string[];
      remove: string[];
      welcomes: { device: ReturnType<typeof deviceOf>; body: Uint8Array }[];
      tree: Uint8Array;
    }>,
  ): Promise<number> {
    const { seq } = await this.user.remote.ask<"commit">({
      type: "commit",
      conversation: GROUP,
      messageId: this.#nextId(),
      lastCommit: 0,
      body: text("sealed"),
      add: [],
      remove: [],
      welcomes: [],
      tree: new Uint8Array(),
      ...options,
    });
    return seq;
  }

  say(epoch: number): Promise<unknown> {
    const body = text("hello");
    return this.user.remote.append({ conversation: GROUP, messageId: this.#nextId(), expectedEpoch: epoch, body });
  }

  #nextId(): MessageId {
    return `${this.index}${++this.#said}`.padStart(32, "0") as MessageId;
  }
}

function text(what: string): Uint8Array {
  return new TextEncoder().encode(what);
}

async function refused(asked: Promise<unknown>, code: number): Promise<void> {
  await assert.rejects(asked, (error) => error instanceof ServerRefusal && error.code === code);
}

async function seqsOf(asked: Promise<ResponseOf<"records" | "restored">>): Promise<number[]> {
  const answer = await asked;
  return answer.type === "records" ? answer.records.map(({ seq }) => seq) : [];
}
