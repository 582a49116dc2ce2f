import assert from "node:assert/strict";
import {
  BindError,
  foldHost,
  formatHostPort,
  openUdp,
  type Route,
  type UdpSockets,
} from "../../../shared/net/udp_socket.ts";

/** A socket that keeps what it hears, and lets a test wait for the next datagram. */
function listen(host: string, port = 0, wildcardIsOne = false): UdpSockets & { next(): Promise<[Uint8Array, Route]> } {
  const heard: [Uint8Array, Route][] = [];
  const waiting: ((datagram: [Uint8Array, Route]) => void)[] = [];
  const sockets = openUdp({
    host,
    port,
    wildcardIsOne,
    onDatagram(bytes, from) {
      const datagram: [Uint8Array, Route] = [bytes.slice(), from];
      const waiter = waiting.shift();
      if (waiter) waiter(datagram);
      else heard.push(datagram);
    },
  });
  return Object.assign(sockets, {
    next: () =>
      heard.length > 0 ? Promise.resolve(heard.shift()!) : new Promise<[Uint8Array, Route]>((r) => waiting.push(r)),
  });
}

const send = (from: UdpSockets, bytes: Uint8Array, to: { host: string; port: number }) =>
  new Promise<void>((released) => from.first.send(bytes, to, released));

Deno.test("UdpSocket.send() delivers whole datagrams of 1,200 bytes and says when the bytes are free", async () => {
  const a = listen("127.0.0.1"), b = listen("127.0.0.1");
  const bytes = new Uint8Array(1200).fill(7);
  await send(a, bytes, b.address);
  bytes.fill(9);
  const [got, from] = await b.next();
  assert.deepEqual(got, new Uint8Array(1200).fill(7));
  assert.deepEqual({ host: from.host, port: from.port }, a.address);
  a.close(), b.close();
});

Deno.test("UdpSocket.send() counts what cannot be sent and goes on", async () => {
  const a = listen("127.0.0.1"), b = listen("127.0.0.1");
  await send(a, new Uint8Array(10), { host: "::1", port: 9 });
  await send(a, new Uint8Array(10), { host: "127.0.0.1", port: 0 });
  assert.equal(a.counters.sendErrors, 2);
  await send(a, Uint8Array.of(3), b.address);
  assert.equal((await b.next())[0][0], 3);
  a.close(), b.close();
});

Deno.test("UdpSockets keep receiving after a datagram of theirs was refused", async () => {
  const a = listen("127.0.0.1"), b = listen("127.0.0.1"), gone = listen("127.0.0.1");
  const { host, port } = gone.address;
  gone.close();
  for (let i = 0; i < 5; i++) await send(a, new Uint8Array(10), { host, port });
  await send(b, Uint8Array.of(4), a.address);
  assert.equal((await a.next())[0][0], 4);
  a.close(), b.close();
});

Deno.test("openUdp() names what is wrong", () => {
  const a = listen("127.0.0.1");
  assert.throws(() => listen("127.0.0.1", a.address.port), (error: unknown) => {
    assert(error instanceof BindError);
    assert.equal(error.why, "in use");
    assert.match(error.message, /Cannot listen on UDP 127\.0\.0\.1:\d+: another program uses this port/);
    return true;
  });
  a.close();
  assert.throws(
    () => listen("203.0.113.1"),
    (error: unknown) => error instanceof BindError && error.why === "not available",
  );
});

Deno.test("openUdp() of a wildcard answers from the address that was asked, under one port", async () => {
  const server = listen("0.0.0.0");
  assert.equal(server.address.host, "0.0.0.0");
  assert(server.addresses.length >= 1);
  assert(server.addresses.every(({ port }) => port === server.address.port));
  const client = listen("0.0.0.0", 0, true);
  assert.equal(client.addresses.length, 1);
  for (const address of server.addresses) {
    await send(client, Uint8Array.of(1), address);
    const [, from] = await server.next();
    await new Promise<void>((released) =>
      from.socket.send(Uint8Array.of(2), { ...from, host: from.socket.address.host }, released)
    );
    const [, answerer] = await client.next();
    assert.deepEqual({ host: answerer.host, port: answerer.port }, address);
  }
  const before = server.addresses;
  server.refresh();
  assert.deepEqual(server.addresses, before);
  server.close(), client.close();
});

Deno.test("openUdp() of :: has IPv4 and IPv6 sockets, none of them link-local", () => {
  const server = listen("::");
  const hosts = server.addresses.map(({ host }) => host);
  assert(hosts.some((host) => host.includes(".")));
  assert(!hosts.some((host) => host.startsWith("fe80")));
  server.close();
});

Deno.test("foldHost() shows a mapped IPv4 address as IPv4", () => {
  assert.equal(foldHost("::ffff:192.0.2.1"), "192.0.2.1");
  assert.equal(foldHost("::1"), "::1");
  assert.equal(foldHost("127.0.0.1"), "127.0.0.1");
  assert.equal(formatHostPort("::1", 9000), "[::1]:9000");
});
