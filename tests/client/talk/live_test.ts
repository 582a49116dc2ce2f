/** Presence and typing as users of the library meet them, against a whole server core. */
import assert from "node:assert/strict";
import { PRESENCE_GRACE_US } from "../../../server/bus/presence_board.ts";
import type { ChatClient, ChatEvent } from "../../../client/mod.ts";
import { type ChatWorld, withWorld } from "../chat_world.ts";

/** Keeps what a client tells of the moment, and waits for it. */
class Ears {
  readonly heard: ChatEvent[] = [];
  #wake = () => {};

  constructor(client: ChatClient, presence: boolean) {
    const events = client.events({ presence });
    void (async () => {
      for await (const event of events) {
        if (event.type !== "presence" && event.type !== "typing") continue;
        this.heard.push(event);
        this.#wake();
      }
    })();
  }

  async next(): Promise<ChatEvent> {
    while (this.heard.length === 0) await new Promise<void>((resolve) => this.#wake = resolve);
    return this.heard.shift()!;
  }
}

/** A board that has been there for long. */
function growUp({ harness }: ChatWorld): void {
  harness.hub.presence.tick(1);
  harness.hub.presence.tick(1 + PRESENCE_GRACE_US);
}

Deno.test("ChatClient.events({ presence }) tells who of one's contacts is here, and of whom one names", () =>
  withWorld(async (world) => {
    growUp(world);
    const alice = await world.open("alice"), bob = await world.open("bob");
    const quiet = new Ears(alice, false), ears = new Ears(alice, true);
    assert.equal(world.harness.server.presence.watched, 0, "while there is nobody to watch nothing is asked");
    // A conversation makes a contact.
    await alice.send("bob", "hi");
    assert.deepEqual(await ears.next(), { type: "presence", name: "bob", online: true });
    assert.equal(alice.presence("bob"), true);
    alice.watchPresence(["carol"]);
    assert.deepEqual(await ears.next(), { type: "presence", name: "carol", online: false });
    await bob.close();
    world.harness.hub.presence.tick(1e9);
    world.harness.hub.presence.tick(1e9 + PRESENCE_GRACE_US);
    assert.deepEqual(await ears.next(), { type: "presence", name: "bob", online: false });
    assert.deepEqual([quiet.heard, ears.heard], [[], []]);
  }));

Deno.test("ChatClient.typing() is told to the other one who listens; a message ends it, and a setting forbids it", () =>
  withWorld(async (world) => {
    growUp(world);
    const alice = await world.open("alice"), bob = await world.open("bob");
    // Nobody is told anything by whom they never talked with.
    alice.typing("bob");
    const { conversation } = await bob.send("alice", "hi");
    const quiet = new Ears(bob, false), ears = new Ears(bob, true);
    assert.equal((await ears.next()).type, "presence");
    // Alice has the message before she types.
    await alice.waitForUnshown(30_000);
    alice.typing("bob");
    const typing = { type: "typing", name: "alice", conversation, typing: true };
    assert.deepEqual(await ears.next(), typing);
    await alice.send("bob", "there it is");
    assert.deepEqual(await ears.next(), { ...typing, typing: false });
    alice.sendsTyping = false;
    alice.typing("bob");
    alice.sendsTyping = true;
    alice.typing("bob");
    assert.deepEqual(await ears.next(), typing);
    alice.typing("bob", false);
    assert.deepEqual(await ears.next(), { ...typing, typing: false });
    assert.deepEqual([quiet.heard, ears.heard], [[], []]);
  }));
