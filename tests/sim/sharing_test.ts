/** What transfers do to each other and to people who chat beside them, at bottlenecks in virtual time. */
import assert from "node:assert/strict";
import { type Controller, Cubic, Illinois, NewReno } from "../../shared/transport/mod.ts";
import { Pair, type PairOptions } from "./pair.ts";

const CONTROLLERS: Record<string, () => Controller> = {
  NewReno: () => new NewReno(),
  Cubic: () => new Cubic(),
  Illinois: () => new Illinois(),
};
const DELAY_US = 20_000;

/** A queue that several links feed. */
class Bottleneck {
  #freeUs = 0;
  constructor(readonly bitsPerSecond: number, readonly queuePackets: number) {}

  /** Lets the pair's datagrams to the server through this queue. */
  join(pair: Pair): void {
    const link = pair.client.out;
    link.drop = (bytes) => {
      const packetUs = bytes.length * 8e6 / this.bitsPerSecond;
      const waitUs = Math.max(0, this.#freeUs - pair.nowUs) + packetUs;
      if (waitUs > this.queuePackets * 9.6e9 / this.bitsPerSecond) return true;
      this.#freeUs = pair.nowUs + waitUs;
      link.faults.delayUs = Math.round(DELAY_US + waitUs);
      return false;
    };
  }
}

function connect(options: PairOptions): Pair {
  const pair = new Pair({ toServer: { delayUs: DELAY_US }, toClient: { delayUs: DELAY_US }, ...options });
  assert.ok(pair.run(() => pair.client.has("confirmed"), 5_000_000));
  return pair;
}

/** Two transfers, the second 3 s later. @returns What each moved from second 8 to second 28, in Mbit/s. */
function share(bottleneck: Bottleneck, controllers: readonly [Controller, Controller]): [number, number] {
  const pairs = controllers.map((controller, seed) => connect({ seed: seed + 1, client: { controller } }));
  const ids = pairs.map((pair) => {
    bottleneck.join(pair);
    return pair.client.connection.openStream(2);
  });
  const [first, second] = pairs as [Pair, Pair];
  let nowUs = Math.max(first.nowUs, second.nowUs);
  const passUntil = (untilUs: number) => {
    for (; nowUs < untilUs; nowUs += 1_000) {
      for (const pair of pairs) {
        while (pair.step(nowUs));
        pair.nowUs = nowUs;
      }
    }
  };
  const startUs = nowUs;
  first.client.connection.write(ids[0]!, new Uint8Array(60_000_000));
  first.pump();
  passUntil(startUs + 3_000_000);
  second.client.connection.write(ids[1]!, new Uint8Array(60_000_000));
  second.pump();
  passUntil(startUs + 8_000_000);
  const before = pairs.map((pair, i) => pair.server.inbox(ids[i]!).bytes);
  passUntil(startUs + 28_000_000);
  const rates = pairs.map((pair, i) => (pair.server.inbox(ids[i]!).bytes - before[i]!) * 8 / 20e6);
  return rates as [number, number];
}

/** 1 where both have the same, 0.5 where one has all. */
function jainIndex([a, b]: readonly [number, number]): number {
  return (a + b) ** 2 / (2 * (a * a + b * b));
}

for (const [name, make] of Object.entries(CONTROLLERS)) {
  Deno.test(`${name}: two transfers share a bottleneck fairly, though one began earlier`, () => {
    const [a, b] = share(new Bottleneck(10_000_000, 50), [make(), make()]), jain = jainIndex([a, b]);
    assert.ok(jain > 0.9, `${a.toFixed(2)} and ${b.toFixed(2)} Mbit/s, Jain's index is ${jain.toFixed(3)}`);
    assert.ok(a + b > 8.5, `${(a + b).toFixed(2)} Mbit/s of 10`);
  });

  for (const queuePackets of [50, 10]) {
    Deno.test(`${name}: a bottleneck of 1 Mbit/s with ${queuePackets} packets loses less than a tenth of what is sent`, () => {
      const pair = connect({ client: { controller: make() } });
      pair.client.out.faults = { ...pair.client.out.faults, bitsPerSecond: 1_000_000, queuePackets };
      const { connection, out } = pair.client, startUs = pair.nowUs, id = connection.openStream();
      connection.write(id, new Uint8Array(2_000_000), true);
      assert.ok(pair.run(() => pair.server.inbox(id).finished));
      const rate = 16e6 / (pair.nowUs - startUs), share = out.droppedPackets / out.sentPackets;
      assert.ok(share < 0.1 && rate > 0.85, `${rate.toFixed(3)} Mbit/s, ${(100 * share).toFixed(1)} % lost`);
    });
  }
}

for (const other of ["NewReno", "Cubic"]) {
  for (const queuePackets of [20, 50, 200]) {
    Deno.test(`Illinois beside ${other} before a queue of ${queuePackets}: neither starves, whoever came first`, () => {
      for (const isFirst of [true, false]) {
        const ours = new Illinois(), theirs = CONTROLLERS[other]!();
        const rates = share(new Bottleneck(10_000_000, queuePackets), isFirst ? [ours, theirs] : [theirs, ours]);
        const what = `${isFirst ? "first" : "second"}: ${rates.map((rate) => rate.toFixed(2)).join(" and ")} Mbit/s`;
        assert.ok(Math.min(...rates) > 0.2 * (rates[0] + rates[1]), what);
        // A queue of four round trips is more than a latecomer that minds delay gets its half of in 20 seconds.
        if (queuePackets <= 50) assert.ok(jainIndex(rates) > 0.9, what);
        assert.ok(rates[0] + rates[1] > 8, what);
      }
    });
  }
}

Deno.test("Illinois: a path that loses at random carries several times what NewReno makes of it", () => {
  const seconds = (controller: Controller) => {
    const pair = connect({ seed: 3, client: { controller }, toServer: { delayUs: DELAY_US, loss: 0.05 } });
    const startUs = pair.nowUs, id = pair.client.connection.openStream();
    pair.client.connection.write(id, new Uint8Array(2_000_000), true);
    assert.ok(pair.run(() => pair.server.inbox(id).finished));
    return (pair.nowUs - startUs) / 1e6;
  };
  const [ours, theirs] = [seconds(new Illinois()), seconds(new NewReno())];
  assert.ok(ours < theirs / 2, `${ours} s against ${theirs} s`);
});

Deno.test("Pair: texts beside an upload wait for one queue of the network, and for nothing of ours", () => {
  const bitsPerSecond = 10_000_000, queuePackets = 50;
  const pair = connect({});
  pair.client.out.faults = { ...pair.client.out.faults, bitsPerSecond, queuePackets };
  const { connection } = pair.client, upload = connection.openStream(2), chat = connection.openStream(0);
  connection.write(upload, new Uint8Array(50_000_000));
  const sent: number[] = [], took: number[] = [];
  pair.server.onRead = (id, chunk) => {
    if (id === chat) { for (let i = 0; i < chunk.length / 300; i++) took.push(pair.nowUs - sent[took.length]!); }
  };
  for (let i = 0; i < 200; i++) {
    sent.push(pair.nowUs);
    connection.write(chat, new Uint8Array(300));
    pair.pump();
    pair.sleep(50_000);
  }
  pair.run(() => took.length === 200, 1_000_000);
  took.sort((a, b) => a - b);
  const queueUs = queuePackets * 9.6e9 / bitsPerSecond, p95Us = took[Math.floor(took.length * 0.95)]!;
  assert.equal(took.length, 200);
  assert.ok(pair.server.inbox(upload).bytes > 8_000_000, "The upload goes on");
  // A text leaves within a packet or two of the pacer; what is lost at the full queue comes a round trip later.
  assert.ok(p95Us < DELAY_US + queueUs + 5_000, `95 of 100 texts took less than ${p95Us} µs`);
  assert.ok(took.at(-1)! < 2 * (2 * DELAY_US + queueUs) + DELAY_US, `one took ${took.at(-1)} µs`);
});

Deno.test("Pair: a reader that stops holds no more than its window, however much is written", () => {
  const pair = connect({});
  pair.server.reads = false;
  const { connection } = pair.client, ids = Array.from({ length: 20 }, () => connection.openStream());
  for (let i = 0; i < 50; i++) {
    for (const id of ids) connection.write(id, new Uint8Array(20_000));
    pair.sleep(100_000);
  }
  const held = pair.server.connection.stats.bytesReceived;
  assert.ok(held < 2.2 * (1 << 20), `${held} bytes came`);
  const sentBefore = connection.stats.bytesSent;
  pair.sleep(10_000_000);
  assert.ok(connection.stats.bytesSent - sentBefore < 5_000, "Nothing is repeated to a reader that is only slow");
});
