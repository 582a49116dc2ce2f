/** Connections that begin with a ticket instead of a log-in (docs/PROTOCOL.md §2.6, SECURITY H8). */
import assert from "node:assert/strict";
import type { Ticket } from "../../shared/handshake/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import { sha256 } from "../../shared/crypto/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { testKeys } from "../keys.ts";
import { expectError, expectType, Harness, logIn, registration, settle, type TestClient, until } from "./harness.ts";

const { alice, bob } = await testKeys();

/** The ticket that a connection was given. */
function ticketOf(client: TestClient): Ticket {
  const { server } = client.pair, login = server.given.at(-1)!;
  return {
    ...login,
    connectionId: server.connectionId,
    secret: new Uint8Array(32),
    issuedSeconds: 0,
    expirySeconds: 1,
  };
}

Deno.test("every log-in is given a ticket, a log-in by ticket is not: ACCEPT brought one", async () => {
  const harness = await Harness.open();
  const client = harness.connect();
  const { token } = expectType(await client.ask(registration(alice, client)), "session");
  const [given, ...more] = client.pair.server.given;
  assert.deepEqual(more, []);
  const device = Uint8Array.fromHex(alice.id);
  assert.deepEqual(given, { ...given, user: "alice", device, session: sha256(token), generation: 0 });
  const again = harness.connect("192.0.2.1", ticketOf(client));
  expectType(await again.ask({ type: "subscribe" }), "ok");
  assert.deepEqual(again.pair.server.given, []);
  assert.equal(harness.services.counters.ticketLogIns, 1);
  assert.equal(harness.bcryptRuns, 1, "that of the sign-up");
});

Deno.test("requests on a resumed connection wait for the store's word, and until then nobody is there", async () => {
  const asked = Promise.withResolvers<void>(), say = Promise.withResolvers<void>();
  const wrapStore = (store: Store) =>
    new Proxy(store, {
      get: (target, name) =>
        name === "session"
          ? async (...args: Parameters<Store["session"]>) => {
            asked.resolve();
            await say.promise;
            return await store.session(...args);
          }
          : Reflect.get(target, name).bind?.(target) ?? Reflect.get(target, name),
    });
  const harness = await Harness.open({ wrapStore });
  const first = await harness.signedUp(alice);
  const ticket = ticketOf(first);
  first.channel.close(CloseCode.none, "");
  await settle();
  const client = harness.connect("192.0.2.1", ticket);
  const answers = [client.ask({ type: "subscribe" }), client.ask({ type: "sync", after: undefined })];
  let answered = 0;
  for (const answer of answers) void answer.then(() => answered++);
  await asked.promise;
  for (let turn = 0; turn < 10; turn++) await settle();
  assert.equal(answered, 0);
  assert.equal(harness.server.sessions.size, 0);
  assert.deepEqual(harness.hub.online(), []);
  say.resolve();
  expectType((await answers[0])!, "ok");
  expectType((await answers[1])!, "sync");
  assert.deepEqual(harness.hub.online(), ["alice"]);
});

const changes: [string, (harness: Harness, ticket: Ticket) => Ticket | Promise<Ticket>][] = [
  ["session has ended", async ({ store }, ticket) => (await store.deleteSession(ticket.session), ticket)],
  ["generation was raised, though its session was kept", async ({ store }, ticket) => {
    await store.raiseGeneration(alice.user, ticket.session);
    return ticket;
  }],
  ["device is another", (_, ticket) => ({ ...ticket, device: new Uint8Array(16) })],
  ["user is another", (_, ticket) => ({ ...ticket, user: "bob" })],
];
for (const [what, change] of changes) {
  Deno.test(`a ticket whose ${what} is no log-in, and the connection is good for a full one`, async () => {
    const harness = await Harness.open();
    const first = await harness.signedUp(alice);
    await harness.signedUp(bob);
    const client = harness.connect("192.0.2.1", await change(harness, ticketOf(first)));
    expectError(await client.ask({ type: "subscribe" }), ErrorCode.notAuthenticated);
    assert.equal(harness.services.counters.ticketLogIns, 0);
    assert.equal(harness.services.counters.ticketLogInsRefused, 1);
    expectType(await client.ask(logIn(alice, client)), "session");
    expectType(await client.ask({ type: "subscribe" }), "ok");
    assert.equal(client.closed, undefined);
  });
}

Deno.test("the connection that a ticket came from is ended if it is dead, after its successor has logged in", async () => {
  const harness = await Harness.open(), { server } = harness;
  const first = await harness.signedUp(alice);
  first.pair.client.pause();
  const client = harness.connect("192.0.2.1", ticketOf(first));
  assert.equal(server.sessions.size, 1, "nothing has been said on it yet");
  expectType(await client.ask({ type: "subscribe" }), "ok");
  server.tick(harness.nowUs += 1_000_000);
  await settle();
  assert.equal(server.sessions.size, 2, "it has a moment to answer");
  server.tick(harness.nowUs += 1_000_000);
  await until(() => server.sessions.size === 1);
  assert.deepEqual(harness.hub.online(), ["alice"]);
  assert.equal(client.closed, undefined);
});

Deno.test("the connection that a ticket came from stays if it lives: another program of the same home came", async () => {
  const harness = await Harness.open(), { server } = harness;
  const first = await harness.signedUp(alice);
  const client = harness.connect("192.0.2.1", ticketOf(first));
  expectType(await client.ask({ type: "subscribe" }), "ok");
  server.tick(harness.nowUs += 10_000_000);
  await settle();
  assert.equal(server.sessions.size, 2);
  assert.equal(first.closed, undefined);
});

Deno.test("a raised generation closes the user's connections, except the one that keeps its session", async () => {
  const harness = await Harness.open();
  const first = await harness.signedUp(alice), other = await harness.signedUp(bob);
  const second = harness.connect();
  expectType(await second.ask(logIn(alice, second)), "session");
  await harness.store.raiseGeneration(alice.user, second.pair.server.given[0]!.session);
  await until(() => first.closed !== undefined);
  assert.equal(first.closed!.code, CloseCode.sessionEnded);
  expectType(await second.ask({ type: "subscribe" }), "ok");
  expectType(await other.ask({ type: "subscribe" }), "ok");
});

Deno.test("a log-in that was under way when the generation was raised does not slip through", async () => {
  const meanwhile: (() => Promise<unknown>)[] = [];
  const wrapStore = (store: Store) =>
    new Proxy(store, {
      get: (target, name) =>
        name === "session"
          ? async (...args: Parameters<Store["session"]>) => {
            const session = await store.session(...args);
            for (const act of meanwhile) await act();
            return session;
          }
          : Reflect.get(target, name).bind?.(target) ?? Reflect.get(target, name),
    });
  const harness = await Harness.open({ wrapStore });
  const first = await harness.signedUp(alice), ticket = ticketOf(first);
  first.channel.close(CloseCode.none, "");
  await settle();
  meanwhile.push(() => harness.store.raiseGeneration(alice.user));
  const client = harness.connect("192.0.2.1", ticket);
  expectError(await client.ask({ type: "subscribe" }), ErrorCode.notAuthenticated);
  assert.equal(harness.server.sessions.size, 0);
});
