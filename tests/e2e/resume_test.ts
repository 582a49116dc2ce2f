/**
 * A server is killed, and the balancer with it: its clients are on another one in a moment, without RSA, without a password, without
 * their session token, and nothing that was stored is lost. `deno task bench resume` measures the same with 200.
 */
import assert from "node:assert/strict";
import { ReturningClient } from "../../bench/returning_client.ts";
import { dataPaths, parseServerStatus, type ServerStatus } from "../../shared/cluster/mod.ts";
import { importPssPrivate, parseFingerprint } from "../../shared/crypto/mod.ts";
import { callControl } from "../../shared/host/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { testKeys } from "../keys.ts";
import { type Cluster, eventually, signal, startCluster } from "./harness.ts";

const CLIENTS = 20;
/** The bench tells how long it takes; this only has to hold on any machine, however busy. */
const BACK_SECONDS = 60;

Deno.test("kill -9 of a server and the balancer: everybody resumes elsewhere, without RSA and bcrypt, and loses nothing", async () => {
  const cluster = await startCluster(4, ["--handshake-rate", "1000", "--signup-rate", "0"]);
  const stop = new AbortController(), clients: ReturningClient[] = [];
  try {
    const { aliceIdentity } = await testKeys();
    const identity = { key: aliceIdentity.spki, signing: await importPssPrivate(aliceIdentity.pkcs8) };
    const address = { port: cluster.port, fingerprint: parseFingerprint(cluster.fingerprint)! };
    for (let number = 0; number < CLIENTS; number++) {
      clients.push(new ReturningClient(address, `user${number}` as UserName, identity));
    }
    await Promise.all(clients.map(({ link }) => link.start(30_000)));
    const writing = clients.map((client, at) => client.write(clients[at ^ 1]!.name, stop.signal));
    await eventually(() => clients.every(({ stored }) => stored.length >= 2), "everybody writes");

    const before = await statuses(cluster), resumedBefore = resumptionsOf(clients);
    assert.equal(before.length, 4);
    // The leader of the store where it has clients: the hardest case.
    const victim = before.find(({ store, connections }) => store === "leader" && connections > 0) ??
      before.find(({ connections }) => connections > 0)!;
    const away = clients.filter(({ server }) => server === victim.number);
    assert.ok(away.length > 0);
    cluster.balancer.kill("SIGKILL");
    await cluster.balancer.status;
    const killedMs = performance.now();
    Deno.kill(victim.pid, "SIGKILL");
    await eventually(
      () => away.every(({ connectedMs, server }) => connectedMs > killedMs && server !== victim.number),
      "everybody is back",
      BACK_SECONDS,
    );
    const counts = clients.map(({ stored }) => stored.length);
    await eventually(() => clients.every(({ stored }, at) => stored.length >= counts[at]! + 2), "everybody writes on");

    const after = await statuses(cluster);
    assert.equal(after.length, 3);
    const rise = (name: string) =>
      after.reduce((sum, { number, counters }) => {
        const earlier = before.find((status) => status.number === number)!;
        return sum + counters![name]! - earlier.counters![name]!;
      }, 0);
    // Whoever else went to another server, since the machine had no time for theirs, did so in the same way.
    const resumptions = resumptionsOf(clients) - resumedBefore;
    assert.equal(rise("ticketLogIns"), resumptions);
    assert.ok(away.every((client) => client.resumptions >= 1) && resumptions < 2 * away.length + 4, `${resumptions}`);
    assert.equal(rise("rsaDecryptions"), 0);
    assert.equal(rise("bcryptRuns"), 0);
    assert.equal(rise("resumed"), 0, "no session token was shown");
    assert.equal(rise("logIns"), 0);
    for (const client of clients) {
      assert.equal(client.logIns, 1, `${client.name} signed up, and that was all`);
    }
    stop.abort();
    await Promise.all(writing);
    for (const client of clients) assert.equal(await client.missing(), 0);
  } finally {
    stop.abort();
    await Promise.all(clients.map(({ link }) => link.close()));
    for (const { pid } of await statuses(cluster)) signal(pid, "SIGTERM");
    await eventually(async () => (await statuses(cluster)).length === 0, "the servers are gone");
    await cluster.stop();
  }
});

function resumptionsOf(clients: readonly ReturningClient[]): number {
  return clients.reduce((sum, { resumptions }) => sum + resumptions, 0);
}

/** Of the servers that answer. */
async function statuses({ dataDir }: Cluster): Promise<ServerStatus[]> {
  const answers = [0, 1, 2, 3].map((number) =>
    callControl(dataPaths(dataDir).server(number).socket, { command: "status" })
  );
  return (await Promise.allSettled(answers))
    .flatMap((answer) => answer.status === "fulfilled" ? [parseServerStatus(answer.value)!] : []);
}
