import assert from "node:assert/strict";
import { decodeLocate, encodeLocated } from "../../../shared/packet/mod.ts";
import {
  connect,
  ConnectTimeoutError,
  formatHostPort,
  KeyMismatchError,
  LocateTimeoutError,
  NameError,
  NoServerError,
  openUdp,
  resolveHost,
} from "../../../shared/net/mod.ts";
import { answerLocates, cluster, connectTo, listen, locateAt, locatedAt, makeCluster, primitives } from "./cluster.ts";

Deno.test("locate() finds the server behind a name, and the host that was reached", async () => {
  const balancer = answerLocates({ host: "127.0.0.1", port: 4711 });
  for (const host of ["127.0.0.1", "localhost"]) {
    const located = await locateAt({ host, port: balancer.address.port }, { expectedFingerprint: cluster.fingerprint });
    assert.equal(formatHostPort(located.host, located.port), "127.0.0.1:4711");
    assert.deepEqual(located.fingerprint, cluster.fingerprint);
    assert.deepEqual(located.clusterId, cluster.id);
    assert.equal(located.serverNumber, 3);
  }
  balancer.close();
});

Deno.test("locate() says that nothing answered", async () => {
  const silent = openUdp({ host: "127.0.0.1", port: 0, onDatagram() {} });
  await assert.rejects(locateAt(silent.address, { timeoutMs: 100 }), (error: unknown) => {
    assert(error instanceof LocateTimeoutError);
    assert.match(error.message, /^Nothing answered at UDP 127\.0\.0\.1:\d+ within 0\.1 s$/);
    return true;
  });
  silent.close();
});

Deno.test("locate() asks again until something answers", async () => {
  let asked = 0;
  const nonces = new Set<string>();
  const balancer = answerLocates({ host: "127.0.0.1", port: 4711 });
  const lossy = openUdp({
    host: "127.0.0.1",
    port: 0,
    onDatagram(bytes, from) {
      asked++;
      assert.equal(bytes.length, 1200);
      nonces.add(decodeLocate(bytes)!.nonce.toHex());
      if (asked < 2) return;
      const answer = bytes.slice();
      // From another socket than was asked: answers are matched by nonce alone.
      balancer.first.send(located(answer), from, () => {});
    },
  });
  assert.equal((await locateAt(lossy.address)).port, 4711);
  assert(asked >= 2);
  assert.equal(nonces.size, 1, "The same question, so that a late answer to the first still counts");
  balancer.close(), lossy.close();
});

Deno.test("locate() ignores an answer to another question", async () => {
  const liar = openUdp({
    host: "127.0.0.1",
    port: 0,
    onDatagram(bytes, from) {
      const answer = bytes.slice();
      answer[10]! ^= 1;
      from.socket.send(located(answer), from, () => {});
    },
  });
  await assert.rejects(locateAt(liar.address, { timeoutMs: 100 }), LocateTimeoutError);
  liar.close();
});

Deno.test("locate() with a pinned key ignores others while it searches, and reports them only then", async () => {
  const other = await makeCluster();
  const wrong = answerLocates({ host: "127.0.0.1", port: 4711 }, other);
  const pinned = { expectedFingerprint: cluster.fingerprint };
  await assert.rejects(locateAt(wrong.address, { ...pinned, timeoutMs: 1_000 }), (error: unknown) => {
    assert(error instanceof KeyMismatchError);
    assert.deepEqual(error.offeredFingerprint, other.fingerprint);
    assert.deepEqual(error.expectedFingerprint, cluster.fingerprint);
    return true;
  });
  // An attacker who answers first does not win: the true answer comes 50 ms later.
  const right = answerLocates({ host: "127.0.0.1", port: 4712 });
  const both = openUdp({
    host: "127.0.0.1",
    port: 0,
    onDatagram(bytes, from) {
      from.socket.send(located(bytes.slice(), other), from, () => {});
      const honest = located(bytes.slice());
      setTimeout(() => from.socket.send(honest, from, () => {}), 50);
    },
  });
  assert.deepEqual((await locateAt(both.address, pinned)).fingerprint, cluster.fingerprint);
  wrong.close(), right.close(), both.close();
});

Deno.test("locate() tells a balancer without servers from silence", async () => {
  const balancer = answerLocates({ host: "127.0.0.1", port: 0 });
  const search = locateAt(balancer.address, { timeoutMs: 1_000 });
  await assert.rejects(search, NoServerError);
  // One that comes up while we ask is found.
  const later = locateAt(balancer.address);
  setTimeout(() => balancer.server = { host: "127.0.0.1", port: 4711 }, 50);
  assert.equal((await later).port, 4711);
  balancer.close();
});

Deno.test("locate() and connect() stop when they are told to", async () => {
  const silent = openUdp({ host: "127.0.0.1", port: 0, onDatagram() {} });
  const stop = new AbortController(), reason = new Error("enough");
  setTimeout(() => stop.abort(reason), 20);
  const { signal } = stop;
  await assert.rejects(locateAt(silent.address, { signal }), reason);
  await assert.rejects(locateAt(silent.address, { signal }), reason);
  const again = new AbortController();
  setTimeout(() => again.abort(reason), 20);
  const located = locatedAt(silent.address);
  await assert.rejects(connect({ located, timeoutMs: 60_000, primitives, signal: again.signal }), reason);
  silent.close();
});

Deno.test("connect() says that nothing answered, or that what answered is not the cluster", async () => {
  const silent = openUdp({ host: "127.0.0.1", port: 0, onDatagram() {} });
  await assert.rejects(connectTo(silent.address, 100), ConnectTimeoutError);
  silent.close();
  const other = await makeCluster();
  const server = await listen(() => {});
  // The key it pins is another one: the server's answer proves nothing to this client.
  const located = { ...locatedAt(server.address), clusterKey: other.spki };
  await assert.rejects(connect({ located, timeoutMs: 400, primitives }), ConnectTimeoutError);
  assert.equal(server.connections, 0);
  await server.close(0, "");
});

Deno.test("resolveHost() takes addresses as they are and names what it cannot find", async () => {
  assert.deepEqual(await resolveHost("192.0.2.1"), ["192.0.2.1"]);
  assert.deepEqual(await resolveHost("[::1]"), ["::1"]);
  assert.deepEqual(await resolveHost("::ffff:192.0.2.1"), ["192.0.2.1"]);
  assert((await resolveHost("localhost")).includes("127.0.0.1"));
  await assert.rejects(resolveHost("no-such-host.invalid"), NameError);
});

function located(locate: Uint8Array, from = cluster): Uint8Array {
  const decoded = decodeLocate(locate);
  return encodeLocated({
    version: 1,
    nonce: locate.slice(3, 19),
    clusterId: from.id,
    versions: decoded?.versions ?? [1],
    serverNumber: 3,
    host: "",
    port: 4711,
    token: new Uint8Array(23),
    clusterKey: from.spki,
  });
}
