import assert from "node:assert/strict";
import { Audience } from "../../../client/talk/audience.ts";
import type { Database } from "../../../client/home/database.ts";
import type { ChatEvent, NoticeEvent } from "../../../client/events.ts";
import type { History } from "../../../client/talk/history.ts";
import { States } from "../../../client/talk/states.ts";
import type { Subscription } from "../../../client/talk/subscription.ts";
import { BOB, fromBob, historyWithBob, withDatabase } from "../homes.ts";

const notice = (text: string): NoticeEvent => ({ type: "notice", code: "gap", text });
const PRESENCE: ChatEvent = { type: "presence", name: BOB, online: true };
const ASKED = { own: false, presence: true, onEnd: () => {} };

function audienceIn(database: Database): { audience: Audience; history: History } {
  const history = historyWithBob(database);
  return { audience: new Audience({ history, states: new States(database) }), history };
}

/** All that somebody heard, ended by {@linkcode Audience.finish}. */
async function heard(subscription: Subscription): Promise<string[]> {
  const found: string[] = [];
  for await (const event of subscription) {
    found.push(event.type === "notice" || event.type === "message" ? event.text : event.type);
  }
  return found;
}

Deno.test("Audience.tell() keeps what happens for the first who listens, and what is so for a moment only for nobody", () =>
  withDatabase(async (database) => {
    const { audience } = audienceIn(database);
    audience.tell(notice("early"));
    audience.tell(PRESENCE);
    const first = audience.add(ASKED), second = audience.add(ASKED);
    audience.tell(notice("late"));
    audience.tell(PRESENCE);
    audience.finish();
    assert.deepEqual(await heard(first), ["early", "late", "presence"]);
    assert.deepEqual(await heard(second), ["late", "presence"]);
  }));

Deno.test("Audience.tell() keeps no more than a hundred for somebody who may never come", () =>
  withDatabase(async (database) => {
    const { audience } = audienceIn(database);
    for (let i = 0; i < 150; i++) audience.tell(notice(`${i}`));
    const first = audience.add(ASKED);
    audience.finish();
    assert.deepEqual(await heard(first), Array.from({ length: 100 }, (_, i) => `${i}`));
  }));

Deno.test("Audience.poke() lets those who wait look for new messages", () =>
  withDatabase(async (database) => {
    const { audience, history } = audienceIn(database);
    const one = audience.add(ASKED), next = one.next();
    database.transaction(() => history.add(fromBob(1)));
    audience.poke();
    const { value } = await next;
    assert.equal(value.type === "message" && value.text, "text 1");
    audience.finish();
    assert.deepEqual(await heard(one), []);
  }));

Deno.test("Audience.add() tells once that somebody listens no more, and tells them nothing then", () =>
  withDatabase(async (database) => {
    const { audience } = audienceIn(database);
    let ends = 0;
    const one = audience.add({ ...ASKED, onEnd: () => ends++ });
    await one.return();
    await one.return();
    audience.tell(notice("nobody hears it"));
    audience.finish();
    assert.equal(ends, 1);
    assert.deepEqual(await heard(one), []);
  }));
