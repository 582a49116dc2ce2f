import assert from "node:assert/strict";
import fc from "fast-check";
import { Acks, type AckState } from "../../../client/talk/acks.ts";
import { Database } from "../../../client/home/database.ts";
import type { History } from "../../../client/talk/history.ts";
import { Shown } from "../../../client/talk/shown.ts";
import { Own } from "../../../client/talk/message_row.ts";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { BOBS_DEVICE, fromBob, historyWithBob, idOf, withDatabase } from "../homes.ts";

const LEASE_MS = 1_000;
const OTHER_TALK = "0b".repeat(16) as ConversationId;

/** A script's view: what it is handed, by seq and attempt. */
function taker(acks: Acks, holder = 0, window = 100) {
  return (nowMs = 0): [number, number] | undefined => {
    const delivery = acks.take({ holder, leaseMs: LEASE_MS, window, nowMs });
    return delivery && [delivery.event.seq, delivery.attempt];
  };
}

function ack(acks: Acks, seq: number): AckState {
  return acks.acknowledge([{ id: idOf(seq) }])[0]!;
}

/** Runs with Alice's home in which a script has begun to listen. */
function withAcks(use: (acks: Acks, history: History, database: Database) => void): Promise<void> {
  return withDatabase((database) => {
    const history = historyWithBob(database), acks = new Acks(database, new Shown(database));
    acks.begin();
    use(acks, history, database);
  });
}

Deno.test("Acks.take() hands out each message once, in order, and nothing that one sent oneself", () =>
  withAcks((acks, history) => {
    const take = taker(acks);
    assert.equal(take(), undefined);
    history.add(fromBob(1));
    history.add(fromBob(2, { own: Own.here }));
    history.add(fromBob(3, { own: Own.elsewhere }));
    history.add(fromBob(4));
    assert.deepEqual([take(), take(), take()], [[1, 1], [4, 1], undefined]);
    history.add(fromBob(5));
    assert.deepEqual([take(), take()], [[5, 1], undefined]);
  }));

Deno.test("Acks.take() begins behind what was shown before anybody listened, and not behind what is shown later", () =>
  withDatabase((database) => {
    const history = historyWithBob(database), shown = new Shown(database), acks = new Acks(database, shown);
    history.add(fromBob(1));
    shown.mark(1);
    acks.begin();
    history.add(fromBob(2));
    shown.mark(2);
    acks.begin();
    assert.deepEqual(taker(acks)(), [2, 1]);
    assert.equal(shown.upTo(), 2);
    assert.equal(ack(acks, 1), "already");
  }));

Deno.test("Acks.take() repeats what was not acknowledged when its time is over, before what is new", () =>
  withAcks((acks, history) => {
    const take = taker(acks);
    for (const seq of [1, 2, 3]) history.add(fromBob(seq));
    assert.deepEqual([take(0), take(10)], [[1, 1], [2, 1]]);
    assert.equal(acks.nextFreeMs(), LEASE_MS);
    assert.deepEqual([take(LEASE_MS - 1), take(LEASE_MS - 1)], [[3, 1], undefined]);
    assert.deepEqual([take(LEASE_MS), take(LEASE_MS)], [[1, 2], undefined]);
    assert.equal(ack(acks, 2), "acknowledged");
    assert.deepEqual(take(LEASE_MS + 10), undefined);
    assert.deepEqual([take(5 * LEASE_MS), take(5 * LEASE_MS), take(5 * LEASE_MS)], [[1, 3], [3, 2], undefined]);
  }));

Deno.test("Acks.take() gives each of several listeners others, and what one had when it ended to the next", () =>
  withAcks((acks, history) => {
    const first = taker(acks, 0), second = taker(acks, 1);
    for (const seq of [1, 2, 3]) history.add(fromBob(seq));
    assert.deepEqual([first(), second(), first(), second()], [[1, 1], [2, 1], [3, 1], undefined]);
    assert.deepEqual(acks.holders(), [0, 1]);
    acks.release(0);
    assert.deepEqual(acks.holders(), [1]);
    assert.deepEqual([second(), second(), second()], [[1, 2], [3, 2], undefined]);
  }));

Deno.test("Acks.take() leaves the rest while a listener has as many as it may", () =>
  withAcks((acks, history) => {
    const take = taker(acks, 0, 2);
    for (const seq of [1, 2, 3]) history.add(fromBob(seq));
    assert.deepEqual([take(), take(), take()], [[1, 1], [2, 1], undefined]);
    assert.equal(ack(acks, 2), "acknowledged");
    assert.deepEqual([take(), take()], [[3, 1], undefined]);
    assert.deepEqual(take(LEASE_MS), [1, 2]);
  }));

Deno.test("Acks.acknowledge() tells apart what was, what was not, and what never will be", () =>
  withAcks((acks, history) => {
    history.add(fromBob(1));
    history.add(fromBob(2));
    history.add(fromBob(3, { own: Own.here }));
    taker(acks)();
    assert.deepEqual(
      acks.acknowledge([1, 1, 2, 3, 9].map((seq) => ({ id: idOf(seq) }))),
      ["acknowledged", "already", "waiting", "unknown", "unknown"],
    );
    assert.deepEqual(acks.acknowledge([]), []);
    assert.equal(taker(acks)(LEASE_MS)?.[0], 2, "it was not acknowledged before it was handed out");
  }));

Deno.test("Acks.acknowledge() takes an id that two messages have only with their place", () =>
  withAcks((acks, history) => {
    history.add(fromBob(1));
    history.add(fromBob(7, { id: idOf(1), conversation: OTHER_TALK }));
    const take = taker(acks);
    take();
    take();
    assert.equal(ack(acks, 1), "ambiguous");
    const place = { conversation: OTHER_TALK, seq: 7 };
    assert.deepEqual(acks.acknowledge([{ id: idOf(1), place }]), ["acknowledged"]);
    assert.deepEqual(acks.acknowledge([{ id: idOf(1), place: { conversation: OTHER_TALK, seq: 8 } }]), ["unknown"]);
    assert.deepEqual(take(LEASE_MS), [1, 2]);
    assert.equal(ack(acks, 1), "acknowledged");
    assert.equal(take(9 * LEASE_MS), undefined);
  }));

Deno.test("Acks.acknowledge() is not misled by a refused row that claims a message's id", () =>
  withAcks((acks, history) => {
    const { text: _, ...row } = fromBob(1);
    history.add({ ...row, id: idOf(2), reason: "not its device" });
    history.add(fromBob(2));
    const take = taker(acks);
    assert.deepEqual([take(), take()], [[1, 1], [2, 1]]);
    assert.equal(ack(acks, 2), "acknowledged");
    assert.deepEqual([take(LEASE_MS), take(LEASE_MS)], [[1, 2], undefined]);
    acks.settle(1);
    assert.equal(take(9 * LEASE_MS), undefined);
  }));

Deno.test("Acks forget a refused row whose message can be read now, and hand that out", () =>
  withAcks((acks, history) => {
    const { text: _, ...row } = fromBob(1);
    history.add({ ...row, reason: "unknown device", body: new Uint8Array(1) });
    const take = taker(acks);
    assert.deepEqual(take(), [1, 1]);
    history.replace(fromBob(1, { device: BOBS_DEVICE }));
    assert.deepEqual(acks.holders(), []);
    assert.deepEqual([take(9 * LEASE_MS), take(9 * LEASE_MS)], [[1, 1], undefined]);
  }));

Deno.test("Acks are still there after a restart, and keep no row of what was acknowledged", () =>
  withDatabase((database, path) => {
    const history = historyWithBob(database), acks = new Acks(database, new Shown(database));
    acks.begin();
    for (const seq of [1, 2, 3]) history.add(fromBob(seq));
    const take = taker(acks);
    for (let count = 0; count < 3; count++) take();
    ack(acks, 2);
    const again = Database.open(path);
    try {
      assert.equal(again.all("SELECT * FROM deliveries").length, 2);
      const later = new Acks(again, new Shown(again)), takeLater = taker(later, 1);
      later.begin();
      assert.equal(takeLater(), undefined, "the first listener still has them");
      later.release(0);
      assert.deepEqual([takeLater(), takeLater(), takeLater()], [[1, 2], [3, 2], undefined]);
      assert.deepEqual([ack(later, 1), ack(later, 3)], ["acknowledged", "acknowledged"]);
      assert.equal(again.all("SELECT * FROM deliveries").length, 0);
    } finally {
      again.close();
    }
  }));

/** The obvious version: a list of who has what. */
class Twin {
  readonly open = new Map<number, { attempts: number; holder: number | undefined; untilMs: number }>();
  handed = 0;

  constructor(readonly arrived: () => number) {}

  take(holder: number, window: number, nowMs: number): [number, number] | undefined {
    const mine = [...this.open.values()].filter((row) => row.holder === holder && row.untilMs > nowMs).length;
    if (mine >= window) return undefined;
    const free = [...this.open.keys()].sort((a, b) => a - b)
      .find((seq) => this.open.get(seq)!.holder === undefined || this.open.get(seq)!.untilMs <= nowMs);
    const seq = free ?? (this.handed < this.arrived() ? ++this.handed : undefined);
    if (seq === undefined) return undefined;
    const attempts = (this.open.get(seq)?.attempts ?? 0) + 1;
    this.open.set(seq, { attempts, holder, untilMs: nowMs + LEASE_MS });
    return [seq, attempts];
  }

  release(holder: number): void {
    for (const row of this.open.values()) if (row.holder === holder) row.holder = undefined;
  }

  ack(seq: number): AckState {
    if (this.open.delete(seq)) return "acknowledged";
    return seq <= this.handed ? "already" : seq <= this.arrived() ? "waiting" : "unknown";
  }
}

Deno.test("Acks agree with the obvious version over random lives of three listeners", () =>
  withAcks((acks, history, database) => {
    let base = 0;
    const step = fc.oneof(
      fc.record({ do: fc.constant("arrive" as const) }),
      fc.record({ do: fc.constant("take" as const), holder: fc.nat(2) }),
      fc.record({ do: fc.constant("ack" as const), seq: fc.integer({ min: 1, max: 14 }) }),
      fc.record({ do: fc.constant("release" as const), holder: fc.nat(2) }),
      fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: LEASE_MS }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        // Each life begins where everything of the ones before is dealt with.
        database.run("DELETE FROM deliveries");
        database.setMeta("handed", String(history.lastPosition()));
        base += 100;
        let arrived = 0, nowMs = 0;
        const twin = new Twin(() => arrived);
        const relative = (taken: [number, number] | undefined) => taken && [taken[0] - base, taken[1]];
        for (const one of steps) {
          if (one.do === "arrive") history.add(fromBob(base + ++arrived));
          else if (one.do === "pass") nowMs += one.ms;
          else if (one.do === "release") acks.release(one.holder), twin.release(one.holder);
          else if (one.do === "ack") assert.equal(ack(acks, base + one.seq), twin.ack(one.seq));
          else assert.deepEqual(relative(taker(acks, one.holder, 3)(nowMs)), twin.take(one.holder, 3, nowMs));
        }
      }),
      { numRuns: 60 },
    );
  }));
