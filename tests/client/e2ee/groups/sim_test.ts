/**
 * Seeded histories: people with several devices talk in a group and in pairs, change it at once, come and go, are killed and put
 * back, while everything is delayed. In the end everybody agrees, and no key was used twice. A seed is one history (turns.ts).
 *
 * `FASTCHAT_GROUPS_SEEDS=20 FASTCHAT_GROUPS_STEPS=80 deno test …/sim_test.ts` runs more, `FASTCHAT_GROUPS_SEED=7` that one alone.
 */
import assert from "node:assert/strict";
import { FastChatError } from "../../../../client/errors.ts";
import { RequestError } from "../../../../shared/errors.ts";
import type { SuiteName } from "../../../../client/e2ee/mls/mod.ts";
import type { ConversationId } from "../../../../shared/protocol/mod.ts";
import { assertHealthy, type Home, World } from "./world.ts";

const SEEDS = Number(Deno.env.get("FASTCHAT_GROUPS_SEEDS") ?? 3);
const STEPS = Number(Deno.env.get("FASTCHAT_GROUPS_STEPS") ?? 40);
const ONLY = Deno.env.get("FASTCHAT_GROUPS_SEED");

for (const seed of ONLY === undefined ? Array.from({ length: SEEDS }, (_, index) => index + 1) : [Number(ONLY)]) {
  Deno.test(`sim: groups, seed ${seed}`, async () => {
    await simulate(seed);
  });
}
Deno.test("sim: groups with X-Wing, seed 1001", async () => {
  await simulate(1001, { suite: "x-wing" });
});
Deno.test("sim: the same seed is the same history", async () => {
  const [first, second, other] = [await simulate(5), await simulate(5), await simulate(6)];
  assert(first.length > 200, `only ${first.length} things happened`);
  assert.deepEqual(second, first);
  assert.notDeepEqual(other, first);
});

/** @returns What happened, in order. */
async function simulate(
  seed: number,
  { suite = "x25519", steps = STEPS }: { readonly suite?: SuiteName; readonly steps?: number } = {},
): Promise<string[]> {
  let happened: string[] = [];
  try {
    await World.run(async (world) => {
      happened = world.happened;
      // With what devices leave for their user's others, and without.
      world.hasAccountKeys = seed % 2 === 1;
      await new Story(world, steps).run();
    }, { seed, suite });
  } catch (error) {
    throw new Error(`FASTCHAT_GROUPS_SEED=${seed} FASTCHAT_GROUPS_STEPS=${steps}`, { cause: error });
  }
  return happened;
}

const DAY_MS = 24 * 3600 * 1000;

class Story {
  readonly #world: World;
  readonly #users = ["alice", "bob", "carol", "dave"];
  /** Devices whose own history is not whole: put back, or not there from the beginning. */
  readonly #patchy = new Set<Home>();
  readonly #direct: ConversationId[] = [];
  #group!: ConversationId;
  #said = 0;

  readonly #steps: number;

  constructor(world: World, steps: number) {
    this.#world = world;
    this.#steps = steps;
  }

  async run(): Promise<void> {
    const world = this.#world;
    for (const user of this.#users) await world.home(user);
    await world.home("alice");
    const [alice, bob, carol, dave] = world.homes as [Home, Home, Home, Home];
    this.#group = await alice.engine.create("everybody");
    await alice.engine.change(this.#group, { do: "add", names: [bob.user, carol.user, dave.user] });
    for (const { user } of [bob, carol]) {
      await alice.engine.change(this.#group, { do: "role", name: user, role: "admin" });
    }
    this.#direct.push(await world.direct(alice, bob), await world.direct(bob, carol));
    await world.settle();
    for (let step = 0; step < this.#steps; step++) {
      await this.#step();
      if (world.random.chance(0.2)) await world.settle();
    }
    for (const home of world.homes) if (!home.isOnline) await home.connect();
    await world.settle();
    // Whoever was locked out comes back with what somebody says now.
    for (const home of world.homes) if (this.#isMember(home)) home.say(this.#group, `last of ${home.device}`);
    await world.settle();
    await this.#check();
  }

  async #step(): Promise<void> {
    const world = this.#world, { random, homes } = world, home = random.pick(homes), roll = random.integer(0, 99);
    if (roll < 45) this.#say(home);
    else if (roll < 65) this.#change(home);
    else if (roll < 75) home.isOnline ? home.disconnect() : await home.connect();
    else if (roll < 85) {
      if (home.isOnline) await home.restart();
    } else if (roll < 88 && homes.length < 8) {
      const added = await world.home(random.pick(this.#users));
      this.#patchy.add(added);
      for (const [id, peer] of home.user === added.user ? home.peers : []) added.peers.set(id, peer);
    } else if (roll < 92) await this.#putBack(home);
    else if (world.clock.nowMs < Date.now() - 3 * DAY_MS) world.clock.pass(random.integer(0, 3) * DAY_MS);
  }

  #say(home: Home): void {
    const { random } = this.#world, mine = this.#direct.filter((id) => home.peers.has(id));
    const id = random.chance(0.3) && mine.length > 0 ? random.pick(mine) : this.#group;
    home.say(id, `${this.#said++} by ${home.user}`);
  }

  /** Not awaited: others change it at the same time. */
  #change(home: Home): void {
    const { random } = this.#world, { engine } = home, id = this.#group;
    if (!home.isOnline || engine.conversation(id) === undefined) return;
    const dave = this.#world.homes.find(({ user }) => user === "dave")!.user;
    const work = random.pick([
      () => engine.change(id, { do: "topic", topic: `topic ${this.#said++}` }),
      () => engine.change(id, { do: "rename", name: `name ${this.#said++}` }),
      () => engine.change(id, { do: "remove", names: [dave] }),
      () => engine.change(id, { do: "add", names: [dave] }),
      // An admin who goes takes the role along: new keys and a new description in one commit.
      () => engine.change(id, { do: "role", name: dave, role: random.pick(["admin", "member"] as const) }),
      () => home.user === dave ? engine.leave(id) : engine.change(id, { do: "add", names: [dave] }),
    ]);
    const { life } = home;
    work().catch((error) => {
      // Not allowed, somebody was faster, killed meanwhile: as it may be.
      if (error instanceof FastChatError || error instanceof RequestError || home.life !== life) return;
      home.failed ??= error;
    });
  }

  async #putBack(home: Home): Promise<void> {
    if (!home.isOnline || home.user === "alice") return;
    const old = home.copy();
    for (let number = 0; number < 3; number++) this.#say(home);
    await this.#world.settle();
    this.#patchy.add(home);
    await home.putBack(old);
  }

  #isMember(home: Home): boolean {
    return home.engine.conversation(this.#group) !== undefined;
  }

  async #check(): Promise<void> {
    const { homes } = this.#world;
    assertHealthy(this.#world);
    const members = homes.filter((home) => this.#isMember(home));
    const alice = homes[0]!;
    assert(members.includes(alice));
    for (const id of [this.#group, ...this.#direct]) {
      const inside = homes.filter((home) => home.engine.conversation(id) !== undefined);
      if (inside.length === 0) continue;
      for (const home of inside) {
        assert.deepEqual(home.stateOf(id), inside[0]!.stateOf(id), `${home.user} in ${id}`);
        assert.equal(home.engine.conversation(id)!.blocked, undefined, home.user);
        assert.equal(home.outbox.length, 0, `${home.user} has something left`);
      }
      const devices = new Set(inside[0]!.engine.conversation(id)!.members.flatMap(({ devices }) => devices));
      assert.deepEqual(new Set(inside.map(({ device }) => device)), devices, "somebody is outside who is a member");
      await this.#checkMessages(id, inside);
    }
    for (const home of homes) {
      const never = ["fork", "key-changed", "members-differ", "withheld"];
      // Dave is removed and brought back while he is away, and is not shown what was in between.
      const wrong = home.warnings.filter(({ code }) => never.includes(code) && home.user !== "dave");
      assert.deepEqual(wrong, [], `${home.user}${this.#patchy.has(home) ? ", put back," : ""} is told what is not so`);
    }
  }

  /** Who was there all the time has read everything; the others nothing else. */
  async #checkMessages(id: ConversationId, inside: readonly Home[]): Promise<void> {
    const whole = new Map<number, string>();
    for (const home of inside) {
      for (const { seq, from, text } of home.shown.get(id) ?? []) {
        const known = whole.get(seq);
        assert(known === undefined || known === `${from} ${text}`, `row ${seq} is ${known} and ${from} ${text}`);
        whole.set(seq, `${from} ${text}`);
      }
    }
    const rows = await this.#world.server.rows(inside[0]!.user, id);
    for (const [seq, shown] of whole) assert.equal(rows[seq - 1]!.sender, shown.split(" ")[0], `row ${seq}`);
    const texts = [...whole.values()];
    assert.equal(new Set(texts).size, texts.length, "something arrived twice");
    for (const home of inside) {
      if (this.#patchy.has(home) || home.user === "dave") continue;
      const shown = new Map((home.shown.get(id) ?? []).map(({ seq, from, text }) => [seq, `${from} ${text}`]));
      const missing = [...whole].filter(([seq]) => !shown.has(seq));
      assert.deepEqual(missing, [], `${home.user} ${home.device.slice(0, 6)} has not read: ${home.refused}`);
    }
  }
}
