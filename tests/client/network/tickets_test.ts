import assert from "node:assert/strict";
import { Database } from "../../../client/home/database.ts";
import { TicketPurse } from "../../../client/network/tickets.ts";
import { withDatabase } from "../homes.ts";

const HOUR_SECONDS = 3600;

function ticket(number: number, lifetimeSeconds = HOUR_SECONDS) {
  return { ticket: new Uint8Array([number]), secret: new Uint8Array(32).fill(number), lifetimeSeconds };
}

const numberOf = (taken: { ticket: Uint8Array } | undefined) => taken?.ticket[0];

Deno.test("TicketPurse.take() gives a ticket to one process only, and the same until it is spent", () =>
  withDatabase((database, path) => {
    const other = Database.open(path), nowMs = () => 0;
    const mine = new TicketPurse(database, "h:1", nowMs), theirs = new TicketPurse(other, "h:1", nowMs);
    mine.put(ticket(1));
    assert.ok(theirs.hasAny);
    assert.equal(numberOf(theirs.take()), 1);
    assert.equal(mine.take(), undefined);
    assert.equal(numberOf(theirs.take()), 1, "no server has seen it yet");
    theirs.spent();
    assert.equal(theirs.take(), undefined);
    assert.ok(!theirs.hasAny);
    other.close();
  }));

Deno.test("TicketPurse.put() takes the place of this connection's earlier ticket, and take() prefers it", () =>
  withDatabase((database, path) => {
    const other = Database.open(path), nowMs = () => 0;
    const mine = new TicketPurse(database, "h:1", nowMs), theirs = new TicketPurse(other, "h:1", nowMs);
    mine.put(ticket(1));
    mine.put(ticket(2));
    theirs.put(ticket(3));
    assert.deepEqual(mine.take(), {
      ticket: new Uint8Array([2]),
      secret: new Uint8Array(32).fill(2),
      expiresMs: 3_600_000,
    });
    mine.spent();
    assert.equal(numberOf(mine.take()), 3, "another process has a connection, this one has none");
    other.close();
  }));

Deno.test("TicketPurse gives nothing that has expired, that is for another server, or that was cleared", () =>
  withDatabase((database) => {
    let nowMs = 0;
    const purse = new TicketPurse(database, "h:1", () => nowMs),
      elsewhere = new TicketPurse(database, "h:2", () => nowMs);
    purse.put(ticket(1));
    assert.equal(elsewhere.take(), undefined);
    nowMs = HOUR_SECONDS * 1000;
    assert.ok(!purse.hasAny);
    assert.equal(purse.take(), undefined);
    elsewhere.put(ticket(2));
    purse.put(ticket(3));
    purse.clear();
    assert.equal(purse.take(), undefined);
    assert.equal(numberOf(elsewhere.take()), 2);
  }));

Deno.test("TicketPurse.close() leaves an unused ticket to others, and the home keeps a bounded number", () =>
  withDatabase((database) => {
    const nowMs = () => 0, purse = new TicketPurse(database, "h:1", nowMs);
    purse.put(ticket(1));
    purse.take();
    purse.close();
    assert.equal(numberOf(new TicketPurse(database, "h:1", nowMs).take()), 1);
    for (let number = 0; number < 40; number++) new TicketPurse(database, "h:1", nowMs).put(ticket(number));
    assert.equal(database.get("SELECT count(*) AS count FROM tickets")!["count"], 16);
  }));
