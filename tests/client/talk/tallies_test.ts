/** Counts of a group's messages, moved on by receipts, against counting them anew. */
import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { Database } from "../../../client/home/database.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { States } from "../../../client/talk/states.ts";
import { Tallies } from "../../../client/talk/tallies.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../../shared/protocol/mod.ts";
import { inDirectory } from "../../temporary.ts";

const GROUP = "60".repeat(16) as ConversationId;
const PEOPLE = ["bob", "carol", "dave", "erin"] as UserName[];
/** Two of each. */
const DEVICES = PEOPLE.flatMap((user) => [0, 1].map((at) => ({ user, device: `${user}${at}` as DeviceId })));

class Home {
  readonly states: States;
  head = 1;

  constructor(readonly database: Database) {
    this.states = new States(database);
    const conversations = new Conversations(database);
    conversations.addGroup({ id: GROUP, cursor: 1 });
    conversations.setGroup(GROUP, { name: "team", topic: "", ended: false, members: [] });
  }

  write(): MessageId {
    const seq = ++this.head, id = seq.toString(16).padStart(32, "0") as MessageId;
    this.database.transaction(() => {
      this.database.run(
        `INSERT INTO messages (conversation, seq, id, kind, sender, recipient, device, time_ms, own, text)
         VALUES (?, ?, ?, 1, 'alice', '', '', 0, 1, '')`,
        GROUP,
        seq,
        id,
      );
      this.states.stored({ id, conversation: GROUP, seq, to: "#team", timeMs: 0, devices: [] });
    });
    return id;
  }

  setRoster(devices: readonly (typeof DEVICES)[number][]): void {
    this.database.transaction(() => this.states.setRoster(GROUP, ++this.head, devices));
  }

  moved(...steps: { at: number; delivered: number; read: number }[]): void {
    this.database.transaction(() =>
      this.states.moved(
        GROUP,
        steps.map(({ at, delivered, read }) => {
          const { user: member, device } = DEVICES[at]!;
          return { member, device, delivered, read };
        }),
        0,
      )
    );
  }

  told(id: MessageId): string[] {
    return this.states.after(0, 10_000).filter(({ event }) => event.id === id)
      .map(({ event: { state, delivered, read, members } }) => `${state} ${delivered} ${read} of ${members}`);
  }
}

function withHome(use: (home: Home) => void): Promise<void> {
  return inDirectory((folder) => {
    const database = Database.open(join(folder, `${crypto.randomUUID()}.db`));
    try {
      use(new Home(database));
    } finally {
      database.close();
    }
    return Promise.resolve();
  });
}

Deno.test("Tallies.moved() comes to what counting every member anew comes to, whoever comes, goes and says what", async () => {
  const place = fc.nat({ max: 30 });
  const step = fc.record({ at: fc.nat({ max: DEVICES.length - 1 }), delivered: place, read: place });
  const act = fc.oneof(
    { weight: 3, arbitrary: fc.constant({ do: "write" as const }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("roster" as const), who: fc.subarray(DEVICES) }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("moved" as const), steps: fc.array(step, { maxLength: 5 }) }) },
  );
  await inDirectory((folder) => {
    let number = 0;
    fc.assert(
      fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
        const database = Database.open(join(folder, `${number++}.db`));
        try {
          const home = new Home(database), tallies = new Tallies(database), written: number[] = [];
          for (const act of acts) {
            if (act.do === "write") home.write(), written.push(home.head);
            else if (act.do === "roster") home.setRoster(act.who);
            else home.moved(...act.steps.map((one) => ({ ...one, read: Math.min(one.read, one.delivered) })));
            for (const seq of written) assert.deepEqual(home.states.counts(GROUP, seq), tallies.counted(GROUP, seq));
          }
        } finally {
          database.close();
        }
      }),
      { numRuns: 60 },
    );
    return Promise.resolve();
  });
});

Deno.test("States.moved() tells once what a whole batch of receipts made of a message, and of no other", () =>
  withHome((home) => {
    home.setRoster(DEVICES.filter(({ device }) => device.endsWith("0")));
    const first = home.write(), seq = home.head, second = home.write();
    home.moved({ at: 0, delivered: seq, read: 0 }, { at: 2, delivered: seq, read: 0 }, {
      at: 4,
      delivered: seq,
      read: seq,
    });
    home.moved({ at: 0, delivered: seq, read: 0 });
    home.moved({ at: 6, delivered: seq + 1, read: 0 });
    assert.deepEqual(home.told(first), ["stored 0 0 of 4", "stored 3 1 of 4", "delivered 4 1 of 4"]);
    assert.deepEqual(home.told(second), ["stored 0 0 of 4", "stored 1 0 of 4"]);
  }));

Deno.test("States: a second device of a member is no second member", () =>
  withHome((home) => {
    home.setRoster(DEVICES);
    const id = home.write();
    home.moved({ at: 0, delivered: home.head, read: 0 });
    home.moved({ at: 1, delivered: home.head, read: home.head });
    assert.deepEqual(home.told(id), ["stored 0 0 of 4", "stored 1 0 of 4", "stored 1 1 of 4"]);
  }));

Deno.test("States: what members who are gone by now said of a message stays, and newcomers are not asked", () =>
  withHome((home) => {
    home.setRoster(DEVICES.slice(0, 4));
    const id = home.write(), seq = home.head;
    home.moved({ at: 0, delivered: seq, read: 0 });
    home.setRoster(DEVICES.slice(2, 8));
    home.moved({ at: 2, delivered: home.head, read: 0 }, { at: 4, delivered: home.head, read: 0 });
    assert.deepEqual(home.told(id).at(-1), "delivered 2 0 of 2");
    assert.deepEqual(home.states.counts(GROUP, seq), { delivered: 2, read: 0, members: 2 });
  }));
