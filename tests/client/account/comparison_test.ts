/** Two devices that compare digits, over servers that keep to the rules and servers that do not. */
import assert from "node:assert/strict";
import {
  compareAsNew,
  compareAsOld,
  type CompareOptions,
  type LinkServer,
} from "../../../client/account/comparison.ts";
import { NumberDiffersError, TimedOutError } from "../../../client/errors.ts";
import type { LinkGrant, LinkOffer } from "../../../shared/crypto/mod.ts";
import { LINK_COMPARE_MS, LINK_MS } from "../../../shared/limits.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER } from "../../keys.ts";

const ALICE = "alice" as UserName;
const DEVICE: Omit<LinkOffer, "ephemeral"> = {
  device: "12".repeat(16) as DeviceId,
  leafKey: new Uint8Array(32).fill(7),
  envelopeKey: new Uint8Array(100).fill(9),
};
const GRANT: LinkGrant = {
  user: ALICE,
  clusterId: TEST_CLUSTER,
  identity: new Uint8Array(32).fill(1),
  identityPem: new TextEncoder().encode("a key file"),
  accountKey: new Uint8Array(32).fill(6),
  salt: new Uint8Array(16).fill(3),
  log2N: 17,
  serial: 2,
};

/** A server as it should be. */
class Mailbox implements LinkServer {
  readonly meetings = new Map<string, Uint8Array>();
  readonly letters = new Map<string, Uint8Array>();
  /** By the place that the offer lies at. */
  readonly grants = new Map<string, Uint8Array>();

  meet(user: UserName, commitment?: Uint8Array): Promise<Uint8Array | undefined> {
    if (commitment !== undefined) this.meetings.set(user, commitment);
    return Promise.resolve(this.meetings.get(user));
  }

  letter(place: Uint8Array, letter?: Uint8Array): Promise<Uint8Array | undefined> {
    const at = place.toHex();
    if (letter !== undefined && !this.letters.has(at)) this.letters.set(at, letter);
    return Promise.resolve(this.letters.get(at));
  }

  async offer(place: Uint8Array, offer: Uint8Array): Promise<Uint8Array | undefined> {
    await this.letter(place, offer);
    return this.grants.get(place.toHex());
  }

  find(place: Uint8Array): Promise<Uint8Array | undefined> {
    return this.letter(place);
  }
}

/** Two people, or one with two screens, who look at both before they say anything. */
class Screens {
  readonly #shown = [Promise.withResolvers<string>(), Promise.withResolvers<string>()] as const;

  /** @param at Which of the two screens. */
  at(at: 0 | 1) {
    return async (digits: string) => {
      this.#shown[at].resolve(digits);
      const [one, other] = await this.digits;
      return one === other;
    };
  }

  get digits(): Promise<[string, string]> {
    return Promise.all([this.#shown[0].promise, this.#shown[1].promise]);
  }
}

type ErrorClass = typeof NumberDiffersError | typeof TimedOutError;
type Changes = Partial<CompareOptions>;

/** Time that passes only by waiting. */
function clock() {
  let ms = 1_000_000;
  return {
    nowMs: () => ms,
    wait: () => {
      ms += 1_000;
      return new Promise<void>((resolve) => setTimeout(resolve, 0));
    },
    pass: (more: number) => void (ms += more),
  };
}

/** The device that lets others in: what it grants, it leaves at the server. */
async function old(server: Mailbox, changes: Changes & { readonly onOpen?: () => void }) {
  const { nowMs, wait } = clock();
  const compared = await compareAsOld({
    server,
    user: ALICE,
    clusterId: TEST_CLUSTER,
    agree: () => Promise.resolve(true),
    onOpen: () => {},
    nowMs,
    wait,
    ...changes,
  });
  server.grants.set(compared.place.toHex(), compared.comparison.seal(GRANT));
  return compared;
}

async function fresh(server: LinkServer, changes: Changes & { readonly onTaken?: () => void }) {
  const { nowMs, wait } = clock();
  const { comparison, granted } = await compareAsNew({
    server,
    user: ALICE,
    device: DEVICE,
    agree: () => Promise.resolve(true),
    onTaken: () => {},
    nowMs,
    wait,
    ...changes,
  });
  return { comparison, grant: comparison.open(granted) };
}

Deno.test("two devices show the same digits, and once both people agree the new one has its grant", async () => {
  const server = new Mailbox(), screens = new Screens();
  const [here, there] = await Promise.all([
    old(server, { agree: screens.at(0) }),
    fresh(server, { agree: screens.at(1) }),
  ]);
  const [one, other] = await screens.digits;
  assert.match(one, /^\d{6}$/);
  assert.equal(one, other);
  assert.deepEqual(there.grant, GRANT);
  assert.deepEqual(here.comparison.offer, there.comparison.offer);
  assert.equal(here.comparison.offer.device, DEVICE.device);
});

Deno.test("whoever is in between, with keys of his own on either side, shows two people different digits, and gets nothing", async () => {
  // Towards each of the two he does all that the other one would do, and agrees with everything.
  const towardsNew = new Mailbox(), towardsOld = new Mailbox(), screens = new Screens();
  const ends = await Promise.allSettled([
    old(towardsOld, { agree: screens.at(0) }),
    fresh(towardsNew, { agree: screens.at(1) }),
    old(towardsNew, {}),
    fresh(towardsOld, {}),
  ]);
  const [one, other] = await screens.digits;
  assert.notEqual(one, other);
  for (const end of ends) {
    assert(end.status === "rejected" && end.reason instanceof NumberDiffersError, String(end.status));
  }
  assert.equal(towardsOld.grants.size, 0);
});

Deno.test("a server that puts anything in place of what a device is bound to, or opens, is found out before digits are shown", async () => {
  const other = Uint8Array.fromHex("ab".repeat(32));
  /** Which of the letters, in the order in which they are left, and on whose way to whom it is changed. */
  const hostile: [string, ErrorClass, (server: Mailbox) => void][] = [
    ["what the old device opens", NumberDiffersError, (server) => {
      const letter = server.letter.bind(server);
      server.letter = async (place, given) => {
        const found = await letter(place, given);
        return found?.length === 48 && given === undefined ? new Uint8Array([...found.slice(0, 16), ...other]) : found;
      };
    }],
    ["what the new device opens", NumberDiffersError, (server) => {
      server.find = async (place) => {
        const found = await server.letter(place);
        return found && new Uint8Array([...other, ...found.slice(32)]);
      };
    }],
    ["the new device's commitment", TimedOutError, (server) => {
      const letter = server.letter.bind(server);
      server.letter = async (place, given) => {
        const found = await letter(place, given);
        // The old device asks for it, the new one leaves it.
        return found?.length === 32 && given === undefined && server.letters.size === 1 ? other : found;
      };
    }],
  ];
  for (const [what, error, change] of hostile) {
    const server = new Mailbox(), shown: string[] = [];
    change(server);
    const agree = (digits: string) => Promise.resolve(shown.push(digits) > 0);
    const ends = await Promise.allSettled([old(server, { agree }), fresh(server, { agree })]);
    for (const end of ends) {
      assert.equal(end.status, "rejected", what);
      const { reason } = end as PromiseRejectedResult;
      assert(reason instanceof NumberDiffersError || reason instanceof TimedOutError, `${what}: ${reason}`);
    }
    assert(ends.some((end) => (end as PromiseRejectedResult).reason instanceof error), what);
    assert(shown.length < 2, `${what}: never on both screens`);
    assert.equal(server.grants.size, 0);
  }
});

Deno.test("one no, on whichever screen, ends it on both, and nothing is granted", async () => {
  for (const refusing of ["old", "new"] as const) {
    const server = new Mailbox(), agree = (side: string) => () => Promise.resolve(side !== refusing);
    const ends = await Promise.allSettled([
      old(server, { agree: agree("old") }),
      fresh(server, { agree: agree("new") }),
    ]);
    for (const end of ends) assert((end as PromiseRejectedResult).reason instanceof NumberDiffersError, refusing);
    assert.equal(server.grants.size, 0);
  }
});

Deno.test("whoever goes away from the question says no by it, and the other device hears of it", async () => {
  const server = new Mailbox();
  const [here, there] = await Promise.allSettled([
    old(server, { agree: () => Promise.reject(new Error("gone")) }),
    fresh(server, {}),
  ]);
  assert.match(String((here as PromiseRejectedResult).reason), /gone/);
  assert((there as PromiseRejectedResult).reason instanceof NumberDiffersError);
});

Deno.test("a verdict that the other device did not make counts for nothing", async () => {
  const server = new Mailbox(), letter = server.letter.bind(server);
  // The new device has not said anything yet: somebody else says yes for it.
  server.letter = async (place, given) =>
    await letter(place, given) ?? (server.letters.size >= 4 ? new Uint8Array(32) : undefined);
  const never = Promise.withResolvers<boolean>();
  const there = assert.rejects(fresh(server, { agree: () => never.promise }), NumberDiffersError);
  await assert.rejects(old(server, {}), /handed over something else/);
  never.resolve(false);
  await there;
  assert.equal(server.grants.size, 0);
});

Deno.test("there are two minutes: for the other device to come, and for both people to agree", async () => {
  const alone = clock(), begin = alone.nowMs();
  await assert.rejects(old(new Mailbox(), alone), TimedOutError);
  assert.equal(alone.nowMs() - begin, LINK_COMPARE_MS);
  for (const [isLate, error] of [[true, TimedOutError], [false, undefined]] as const) {
    const server = new Mailbox(), time = clock(), { nowMs, wait } = time;
    const agree = () => {
      time.pass(LINK_COMPARE_MS - (isLate ? 0 : 60_000));
      return Promise.resolve(true);
    };
    const [here, there] = await Promise.allSettled([old(server, { nowMs, wait, agree }), fresh(server, {})]);
    if (error === undefined) {
      assert.equal(here.status, "fulfilled");
      assert.equal(there.status, "fulfilled");
      continue;
    }
    assert((here as PromiseRejectedResult).reason instanceof error, "a yes that comes too late is none");
    assert((there as PromiseRejectedResult).reason instanceof NumberDiffersError, "the other device hears of it");
    assert.equal(server.grants.size, 0);
  }
});

Deno.test("a new device waits ten minutes for one that lets it in", async () => {
  const time = clock(), begin = time.nowMs();
  await assert.rejects(fresh(new Mailbox(), time), TimedOutError);
  assert.equal(time.nowMs() - begin, LINK_MS);
});

Deno.test("one attempt: who comes second is refused, and takes part in the next one only, which has other keys and digits", async () => {
  const server = new Mailbox(), joined = Promise.withResolvers<void>(), taken = Promise.withResolvers<void>();
  const second = Promise.withResolvers<string>(), first: string[] = [];
  const disagree = async (digits: string) => {
    first.push(digits);
    joined.resolve();
    await taken.promise;
    return false;
  };
  const attempt = Promise.allSettled([old(server, { agree: disagree }), fresh(server, { agree: disagree })]);
  await joined.promise;
  const late = fresh(server, {
    wait: () => new Promise((resolve) => setTimeout(resolve, 0)),
    onTaken: taken.resolve,
    agree: (digits) => Promise.resolve(second.resolve(digits) === undefined),
  });
  for (const end of await attempt) assert((end as PromiseRejectedResult).reason instanceof NumberDiffersError);
  const burnt = server.meetings.get(ALICE);
  const shown: string[] = [];
  await old(server, { agree: (digits) => Promise.resolve(shown.push(digits) > 0) });
  assert.deepEqual((await late).grant, GRANT);
  assert.deepEqual(shown, [await second.promise]);
  assert(!first.includes(shown[0]!));
  assert.notDeepEqual(server.meetings.get(ALICE), burnt);
});
