import assert from "node:assert/strict";
import fc from "fast-check";
import { PRESENCE_GRACE_US, PresenceBoard } from "../../../server/bus/presence_board.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";

const ALICE = "alice" as UserName, BOB = "bob" as UserName;
const TICK_US = 250_000;

/** A board whose time is in our hands, and a server that keeps what it is told. */
class World {
  nowUs = 7_000_000;
  readonly board = new PresenceBoard<Port>();

  constructor(options: { readonly young?: boolean } = {}) {
    this.board.tick(this.nowUs);
    if (!options.young) this.pass(PRESENCE_GRACE_US);
  }

  pass(us: number): void {
    const endUs = this.nowUs + us;
    while (this.nowUs < endUs) this.board.tick(this.nowUs = Math.min(endUs, this.nowUs + TICK_US));
  }
}

class Port {
  told: string[] = [];

  presence(user: UserName, online: boolean): void {
    this.told.push(`${user} ${online ? "here" : "gone"}`);
  }

  take(): string[] {
    const told = this.told;
    this.told = [];
    return told;
  }
}

Deno.test("PresenceBoard.watch() tells at once how things are, then every change, and nothing after its end", () => {
  const { board } = new World(), port = new Port(), other = new Port();
  board.arrived(ALICE);
  board.watch(port, ALICE, true);
  board.watch(port, BOB, true);
  assert.deepEqual(port.take(), ["alice here", "bob gone"]);
  board.arrived(BOB);
  assert.deepEqual([port.take(), other.take()], [["bob here"], []]);
  board.watch(port, BOB, false);
  board.left(BOB);
  board.tick(1e9);
  board.tick(1e9 + PRESENCE_GRACE_US);
  assert.deepEqual(port.take(), []);
  assert.deepEqual(board.among([ALICE, BOB]), { online: [ALICE], isSure: true });
});

Deno.test("PresenceBoard: who is back within the grace was never gone; who is not is gone once, and soon", () => {
  const world = new World(), port = new Port();
  world.board.watch(port, ALICE, true);
  world.board.arrived(ALICE);
  port.take();
  world.board.left(ALICE);
  assert.deepEqual(world.board.among([ALICE]).online, [ALICE]);
  world.pass(PRESENCE_GRACE_US - TICK_US);
  world.board.arrived(ALICE);
  world.pass(10 * PRESENCE_GRACE_US);
  assert.deepEqual(port.take(), []);
  world.board.left(ALICE);
  world.pass(PRESENCE_GRACE_US + 2 * TICK_US);
  assert.deepEqual(port.take(), ["alice gone"]);
  assert.deepEqual(world.board.among([ALICE]), { online: [], isSure: true });
  world.pass(10 * PRESENCE_GRACE_US);
  assert.deepEqual(port.take(), []);
});

Deno.test("PresenceBoard: a young one says of nobody that they are gone, and of all who are when it has grown up", () => {
  const world = new World({ young: true }), port = new Port();
  world.board.watch(port, ALICE, true);
  world.board.watch(port, BOB, true);
  assert.deepEqual(port.take(), []);
  assert.deepEqual(world.board.among([ALICE, BOB]), { online: [], isSure: false });
  world.board.arrived(ALICE);
  assert.deepEqual(port.take(), ["alice here"]);
  assert.deepEqual(world.board.among([ALICE]), { online: [ALICE], isSure: true });
  world.pass(PRESENCE_GRACE_US + TICK_US);
  assert.deepEqual(port.take(), ["bob gone"]);
  assert.deepEqual(world.board.among([ALICE, BOB]), { online: [ALICE], isSure: true });
});

Deno.test("PresenceBoard.forget() leaves no watch of a server that is gone", () => {
  const world = new World(), port = new Port(), other = new Port();
  for (const one of [port, other]) world.board.watch(one, ALICE, true);
  world.board.forget(port);
  for (const one of [port, other]) one.take();
  world.board.arrived(ALICE);
  assert.deepEqual([port.take(), other.take()], [[], ["alice here"]]);
});

Deno.test("PresenceBoard over random comings and goings: nobody flickers, and nobody who is gone stays", () => {
  // Each person: how long they are here, how long away, in tenths of the grace.
  const stretch = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }));
  fc.assert(fc.property(fc.array(stretch, { minLength: 1, maxLength: 12 }), (life) => {
    const world = new World(), port = new Port();
    world.board.watch(port, ALICE, true);
    port.take();
    const expected: string[] = [], tenth = PRESENCE_GRACE_US / 10;
    let shown = false;
    for (const [here, away] of life) {
      world.board.arrived(ALICE);
      if (!shown) expected.push("alice here");
      shown = true;
      world.pass(here * tenth);
      world.board.left(ALICE);
      world.pass(away * tenth);
      // The leaving is noticed at the first tick behind it, so a little more than the grace may be seen as less.
      const surelyGone = away * tenth >= PRESENCE_GRACE_US + 2 * TICK_US, surelyHere = away * tenth < PRESENCE_GRACE_US;
      if (surelyGone || (!surelyHere && port.told.at(-1) === "alice gone")) {
        expected.push("alice gone");
        shown = false;
      }
    }
    assert.deepEqual(port.take(), expected);
  }));
});
