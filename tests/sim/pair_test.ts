import assert from "node:assert/strict";
import { CloseCode } from "../../shared/errors.ts";
import { IDLE_TIMEOUT_US, KEEP_ALIVE_US, MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES } from "../../shared/limits.ts";
import type { ConnectionEvent } from "../../shared/transport/mod.ts";
import { Pair, type PairOptions, type Peer } from "./pair.ts";
import { runScenario, streamBytes } from "./scenario.ts";

function connected(options: PairOptions = {}): Pair {
  const pair = new Pair(options);
  assert.ok(pair.run(() => pair.client.has("confirmed") && pair.server.has("confirmed"), 5_000_000), "never confirmed");
  pair.sleep(1_000_000);
  return pair;
}

/** Opens a stream with `bytes` bytes of its own pattern on it, finished. */
function offer(pair: Pair, sender: Peer, bytes: number, priority: 0 | 1 | 2 = 1): number {
  const id = sender.connection.openStream(priority);
  sender.connection.write(id, streamBytes(id, sender === pair.client, 0, bytes), true);
  return id;
}

function closedOf(peer: Peer) {
  const event = peer.events.find((event): event is ConnectionEvent & { type: "closed" } => event.type === "closed");
  return event?.reason;
}

Deno.test("Pair: both sides are confirmed in one round trip, and the server waits for it", () => {
  const pair = new Pair({ toServer: { delayUs: 30_000 }, toClient: { delayUs: 30_000 } });
  pair.server.connection.write(pair.server.connection.openStream(), new Uint8Array(10));
  pair.run(() => pair.server.has("confirmed"), 1_000_000);
  assert.equal(pair.server.out.sentPackets <= 1, true, "The server spoke before it heard the client");
  assert.equal(pair.nowUs, 1_030_000);
  pair.run(() => pair.client.inbox(1).bytes === 10, 1_000_000);
  assert.equal(pair.nowUs, 1_060_000);
});

Deno.test("Pair: a lost packet is not missed where a second copy follows", () => {
  const pair = connected({ toServer: { delayUs: 20_000 }, toClient: { delayUs: 20_000 } });
  const first = pair.client.out.sentPackets;
  pair.client.out.drop = (_, index) => index === first;
  const startUs = pair.nowUs, id = offer(pair, pair.client, 100);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 2_000_000));
  assert.equal(pair.nowUs - startUs, 24_000);
  pair.sleep(1_000_000);
  assert.equal(pair.client.connection.stats.probes, 0);
  assert.ok(pair.client.connection.stats.copyBytes > 100);
});

Deno.test("Pair: second copies end with a run of acknowledgements and return with a loss", () => {
  const pair = connected({ toServer: { delayUs: 20_000 }, toClient: { delayUs: 20_000 } });
  const id = pair.client.connection.openStream();
  const copiesOf = (messages: number) => {
    const before = pair.client.connection.stats.copyBytes;
    for (let i = 0; i < messages; i++) {
      pair.client.connection.write(id, new Uint8Array(100));
      pair.sleep(100_000);
    }
    return Math.round((pair.client.connection.stats.copyBytes - before) / 100);
  };
  assert.ok(copiesOf(20) >= 20);
  copiesOf(120);
  assert.equal(copiesOf(20), 0);
  const first = pair.client.out.sentPackets;
  pair.client.out.drop = (_, index) => index === first;
  assert.equal(copiesOf(1), 0);
  assert.ok(copiesOf(20) >= 19);
});

Deno.test("Pair: no second copies of what is large, or crosses a room", () => {
  const far = connected({ toServer: { delayUs: 20_000 }, toClient: { delayUs: 20_000 } });
  offer(far, far.client, 1_000);
  far.sleep(1_000_000);
  assert.equal(far.client.connection.stats.copyBytes, 0);
  const near = connected({ toServer: { delayUs: 200 }, toClient: { delayUs: 200 } });
  offer(near, near.client, 100);
  near.sleep(1_000_000);
  assert.equal(near.client.connection.stats.copyBytes, 0);
});

Deno.test("Pair: a packet that is lost with its copy is sent again by the probe timeout", () => {
  const pair = connected();
  const first = pair.client.out.sentPackets;
  let probedUs = 0;
  pair.client.out.drop = (_, index) => {
    if (index === first + 2) probedUs = pair.nowUs;
    return index < first + 2;
  };
  const startUs = pair.nowUs, id = offer(pair, pair.client, 100);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 2_000_000));
  assert.equal(pair.client.connection.stats.probes, 1);
  // The probe carries the lost bytes itself: a round trip later they would come anyway.
  const sentUs = startUs + 10_000;
  assert.ok(probedUs > sentUs && pair.nowUs === probedUs + 10_000, `probed after ${probedUs - startUs} µs`);
});

Deno.test("Pair: probes back off while nothing comes back, and stop at four seconds", () => {
  const pair = connected();
  // The server, because a client's keep-alives would be counted too.
  pair.client.out.blackoutUntilUs = Infinity;
  const times: number[] = [];
  offer(pair, pair.server, 100);
  pair.server.out.drop = () => (times.push(pair.nowUs), true);
  pair.sleep(40_000_000);
  const gaps = times.slice(1).map((time, i) => time - times[i]!).filter((gap) => gap > 0);
  for (let i = 1; i < gaps.length; i++) assert.ok(gaps[i]! >= gaps[i - 1]! - 1, `gaps ${gaps}`);
  assert.equal(Math.max(...gaps), 4_000_000);
  assert.ok(times.length < 50, `${times.length} packets into the void`);
});

Deno.test("Pair: acknowledgements are a seventh of the packets under load, and one leaves at once for a hole", () => {
  const pair = connected({ toServer: { delayUs: 10_000 }, toClient: { delayUs: 10_000 } });
  const id = pair.client.connection.openStream(), sides = [pair.client, pair.server] as const;
  const before = sides.map(({ out }) => out.sentPackets);
  for (let i = 0; i < 2_000; i++) {
    pair.client.connection.write(id, new Uint8Array(200));
    pair.sleep(1_000);
  }
  const [sent, answered] = sides.map(({ out }, i) => out.sentPackets - before[i]!) as [number, number];
  assert.ok(sent >= 2_000 && answered < sent / 7, `${answered} answers to ${sent} packets`);
  pair.sleep(1_000_000);
  const lost = pair.client.out.sentPackets, quiet = pair.server.out.sentPackets;
  pair.client.out.drop = (_, index) => index === lost;
  for (let i = 0; i < 2; i++) {
    pair.client.connection.write(id, new Uint8Array(200));
    pair.pump();
  }
  pair.sleep(10_000);
  assert.equal(pair.server.out.sentPackets - quiet, 1);
});

Deno.test("Pair: a hole in the middle is found by packet threshold, without a probe", () => {
  const pair = connected();
  const first = pair.client.out.sentPackets;
  pair.client.out.drop = (_, index) => index === first + 2;
  const id = offer(pair, pair.client, 10_000);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 2_000_000));
  assert.deepEqual(pair.server.text(id), streamBytes(id, true, 0, 10_000));
  assert.equal(pair.client.connection.stats.probes, 0);
  assert.equal(pair.client.connection.stats.packetsLost, 1);
});

Deno.test("Pair: packets that overtake one another cost no window, and few are sent twice", () => {
  const shuffled = { delayUs: 20_000, jitterUs: 8_000 };
  const pair = connected({ seed: 9, toServer: shuffled, toClient: { delayUs: 20_000 } });
  const before = pair.client.connection.stats.datagramsSent, startUs = pair.nowUs;
  const id = offer(pair, pair.client, 2_000_000);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 20_000_000));
  const { packetsLost, spurious, datagramsSent } = pair.client.connection.stats;
  assert.ok(spurious > 0, "Nothing was taken for lost: the test proves nothing");
  assert.equal(spurious, packetsLost, "Every mistake is noticed");
  assert.ok(packetsLost < 0.05 * (datagramsSent - before), `${packetsLost} of ${datagramsSent - before}`);
  // As fast as the stream's window allows, and slow start.
  assert.ok(pair.nowUs - startUs < 1_000_000, `took ${pair.nowUs - startUs} µs`);
});

Deno.test("Pair: a lost packet of one stream does not delay another", () => {
  const pair = connected();
  const first = pair.client.out.sentPackets;
  pair.client.out.drop = (_, index) => index === first;
  const lost = pair.client.connection.openStream();
  pair.client.connection.write(lost, streamBytes(lost, true, 0, 1000));
  pair.pump();
  const startUs = pair.nowUs, other = offer(pair, pair.client, 100);
  assert.ok(pair.run(() => pair.server.inbox(other).finished, 1_000_000));
  assert.equal(pair.nowUs - startUs, 10_000, "One delay of the link");
  assert.equal(pair.server.inbox(lost).bytes, 0);
  assert.ok(pair.run(() => pair.server.inbox(lost).bytes === 1000, 1_000_000));
});

Deno.test("Pair: a message of the largest size crosses a lossy network", () => {
  const pair = connected({ seed: 5, toServer: { loss: 0.03 }, toClient: { loss: 0.03 } });
  const id = offer(pair, pair.client, MESSAGE_BYTES_MAX);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 30_000_000));
  assert.deepEqual(pair.server.text(id), streamBytes(id, true, 0, MESSAGE_BYTES_MAX));
});

Deno.test("Pair: 1,000 messages in 10 streams through 20 ms, 10 % loss, 5 % twice, 10 % out of order", () => {
  const faults = { delayUs: 20_000, loss: 0.1, duplicate: 0.05, reorder: 0.1 };
  const pair = connected({ seed: 6, toServer: faults, toClient: faults });
  const startUs = pair.nowUs;
  const ids = Array.from({ length: 10 }, () => pair.client.connection.openStream());
  for (let i = 0; i < 100; i++) {
    for (const id of ids) pair.client.connection.write(id, streamBytes(id, true, i * 250, i * 250 + 250), i === 99);
    pair.sleep(10_000);
  }
  assert.ok(pair.run(() => ids.every((id) => pair.server.inbox(id).finished)));
  for (const id of ids) assert.deepEqual(pair.server.text(id), streamBytes(id, true, 0, 25_000));
  assert.ok(pair.nowUs - startUs < 20_000_000, `took ${(pair.nowUs - startUs) / 1e6} s`);
});

Deno.test("Pair: a bottleneck of 1 Mbit/s with 50 packets is used well and not flooded", () => {
  const bottleneck = { bitsPerSecond: 1_000_000, queuePackets: 50, delayUs: 20_000 };
  const pair = connected({ toServer: bottleneck, toClient: { delayUs: 20_000 } });
  const before = { ...pair.client.connection.stats }, startUs = pair.nowUs, bytes = 2_000_000;
  const droppedBefore = pair.client.out.droppedPackets;
  const id = offer(pair, pair.client, bytes);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 60_000_000));
  const rate = bytes * 8 / ((pair.nowUs - startUs) / 1e6);
  const sent = pair.client.connection.stats.datagramsSent - before.datagramsSent;
  const lost = pair.client.out.droppedPackets - droppedBefore;
  assert.ok(rate > 700_000, `rate is ${Math.round(rate)} bit/s`);
  assert.ok(lost < sent * 0.1, `${lost} of ${sent} were lost`);
});

Deno.test("Pair: a fast link is filled up to its flow-control window", () => {
  const pair = connected({ toServer: { delayUs: 5_000 }, toClient: { delayUs: 5_000 } });
  const startUs = pair.nowUs, id = offer(pair, pair.client, 8 << 20);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 20_000_000));
  // A window each round trip of 10 ms, and some of it for slow start.
  const windowsUs = (8 << 20) / STREAM_WINDOW_BYTES * 10_000;
  assert.ok(pair.nowUs - startUs < 2 * windowsUs, `took ${pair.nowUs - startUs} µs`);
});

Deno.test("Pair: streams of one priority share, a more urgent one goes first", () => {
  const slow = { bitsPerSecond: 2_000_000, queuePackets: 20 };
  const pair = connected({ toServer: slow });
  const bulk = [offer(pair, pair.client, 200_000, 2), offer(pair, pair.client, 200_000, 2)];
  pair.sleep(400_000);
  const [a, b] = bulk.map((id) => pair.server.inbox(id).bytes) as [number, number];
  assert.ok(Math.abs(a - b) < 0.2 * (a + b), `${a} and ${b} bytes arrived`);
  const urgent = offer(pair, pair.client, 20_000, 0);
  assert.ok(pair.run(() => pair.server.inbox(urgent).finished, 5_000_000));
  assert.ok(bulk.every((id) => !pair.server.inbox(id).finished), "Bulk went first");
});

Deno.test("Pair: an application-limited sender does not inflate its window", () => {
  const pair = connected();
  const before = pair.client.connection.stats.windowBytes;
  const id = pair.client.connection.openStream();
  for (let i = 0; i < 500; i++) {
    pair.client.connection.write(id, new Uint8Array(200));
    pair.sleep(20_000);
  }
  assert.equal(pair.client.connection.stats.windowBytes, before);
});

Deno.test("Pair: the window collapses after persistent congestion", () => {
  const pair = connected();
  const id = offer(pair, pair.client, 400_000);
  pair.run(() => pair.server.inbox(id).bytes > 100_000);
  pair.client.out.blackoutUntilUs = pair.nowUs + 3_000_000;
  pair.sleep(3_000_000);
  let least = Infinity;
  pair.run(() => {
    least = Math.min(least, pair.client.connection.stats.windowBytes);
    return pair.server.inbox(id).finished;
  });
  assert.equal(least, 4800);
  assert.ok(pair.server.inbox(id).finished);
});

Deno.test("Pair: what is not read is not sent beyond the windows", () => {
  const pair = connected();
  pair.server.reads = false;
  const ids = Array.from({ length: 12 }, () => offer(pair, pair.client, 1 << 20));
  pair.sleep(30_000_000);
  assert.ok(pair.server.connection.stats.bytesReceived < 2.3 * (1 << 20), "More than the connection's window came");
  pair.server.reads = true;
  for (const id of ids) pair.server.read(id);
  assert.ok(pair.run(() => ids.every((id) => pair.server.inbox(id).finished), 60_000_000));
});

Deno.test("Pair: lost grants of credit are sent again", () => {
  const limits = { streamWindowBytes: 3_000, connectionWindowBytes: 4_000, streamsOpenMax: 1 };
  for (let lost = 0; lost < 12; lost++) {
    const pair = connected({ serverLimits: limits });
    const first = pair.server.out.sentPackets;
    pair.server.out.drop = (_, index) => index === first + lost;
    const ids = [offer(pair, pair.client, 9_000), offer(pair, pair.client, 5)];
    assert.ok(pair.run(() => pair.server.inbox(ids[0]!).finished, 10_000_000), `packet ${lost}`);
    pair.server.connection.write(ids[0]!, new Uint8Array(3), true);
    assert.ok(pair.run(() => pair.server.inbox(ids[1]!).finished, 10_000_000), `packet ${lost}`);
  }
});

Deno.test("Pair: grants that are all lost for a second are sent again", () => {
  const limits = { streamWindowBytes: 3_000, connectionWindowBytes: 3_000 };
  const pair = connected({ serverLimits: limits });
  const id = offer(pair, pair.client, 20_000);
  pair.server.out.blackoutUntilUs = pair.nowUs + 1_000_000;
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 20_000_000));
});

Deno.test("Pair: no byte of credit leaks, read or unread", () => {
  const limits = { streamWindowBytes: 1_500, connectionWindowBytes: 1_500 };
  const pair = connected({ serverLimits: limits, toServer: { delayUs: 100 }, toClient: { delayUs: 100 } });
  for (let i = 0; i < 100; i++) {
    pair.server.reads = false;
    const id = pair.client.connection.openStream();
    pair.client.connection.write(id, new Uint8Array(1_500));
    pair.run(() => pair.server.has("readable") && pair.client.connection.bufferedBytes === 0, 100_000);
    if (i % 2 === 0) {
      pair.client.connection.resetStream(id, 1);
      pair.client.connection.stopSending(id, 1);
    } else {
      pair.server.connection.stopSending(id, 1);
      pair.server.connection.resetStream(id, 1);
    }
    pair.sleep(20_000);
  }
  pair.server.reads = true;
  const id = offer(pair, pair.client, 1_000_000);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 60_000_000));
});

Deno.test("Pair: a lost STOP_SENDING is sent again", () => {
  const pair = connected();
  const id = pair.client.connection.openStream();
  pair.client.connection.write(id, new Uint8Array(1));
  pair.run(() => pair.server.inbox(id).bytes === 1);
  pair.sleep(100_000);
  const first = pair.client.out.sentPackets;
  pair.client.out.drop = (_, index) => index === first;
  pair.client.connection.stopSending(id, 3);
  assert.ok(pair.run(() => pair.server.inbox(id).resetCode === 3, 2_000_000));
});

Deno.test("Pair: a full window is probed, and a slow path is paced", () => {
  const pair = connected({ toServer: { delayUs: 50_000 }, toClient: { delayUs: 50_000 } });
  const startUs = pair.nowUs, id = offer(pair, pair.client, 200_000);
  pair.pump();
  const burst = pair.client.connection.stats.bytesInFlight;
  assert.ok(burst <= 10 * 1200, `${burst} bytes left at once`);
  pair.client.out.blackoutUntilUs = startUs + 2_000_000;
  pair.sleep(1_900_000);
  const { bytesInFlight, windowBytes, probes } = pair.client.connection.stats;
  assert.ok(probes >= 2 && bytesInFlight > windowBytes, "Probes leave though the window is full");
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 20_000_000));
});

Deno.test("Pair: within one round trip no more leaves at once than the pacer's burst", () => {
  const pair = connected({ toServer: { delayUs: 50_000 }, toClient: { delayUs: 50_000 } });
  let atUs = 0, atOnce = 0, most = 0;
  pair.client.out.drop = () => {
    atOnce = pair.nowUs === atUs ? atOnce + 1 : 1;
    atUs = pair.nowUs;
    most = Math.max(most, atOnce);
    return false;
  };
  const id = offer(pair, pair.client, 500_000);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 20_000_000));
  assert.ok(most <= 11, `${most} datagrams left at once`);
});

Deno.test("Pair: streams beyond the peer's limit wait inside and come in order", () => {
  const pair = connected({ serverLimits: { streamsOpenMax: 4 } });
  const ids = Array.from({ length: 50 }, () => offer(pair, pair.client, 100));
  pair.sleep(200_000);
  assert.equal(pair.server.events.filter((event) => event.type === "stream").length, 4);
  const answered = new Set<number>();
  assert.ok(pair.run(() => {
    for (const id of ids) {
      if (!pair.server.inbox(id).finished || answered.has(id)) continue;
      answered.add(id);
      pair.server.connection.write(id, new Uint8Array(0), true);
    }
    return answered.size === ids.length;
  }, 20_000_000));
  pair.sleep(1_000_000);
  assert.equal(pair.server.connection.streamsOpen, 0);
  assert.equal(pair.client.connection.streamsOpen, 0);
});

Deno.test("Pair: hints arrive at most once and are never sent again", () => {
  const pair = connected();
  const first = pair.client.out.sentPackets;
  pair.client.out.drop = (_, index) => index === first;
  pair.client.connection.sendHint(new Uint8Array([1]));
  pair.pump();
  pair.client.connection.sendHint(new Uint8Array([2]));
  pair.sleep(3_000_000);
  const hints = pair.server.events.flatMap((event) => event.type === "hint" ? [event.bytes[0]] : []);
  assert.deepEqual(hints, [2]);
});

Deno.test("Pair: a ticket reaches the client though its packet is lost", () => {
  const pair = connected();
  const first = pair.server.out.sentPackets;
  pair.server.out.drop = (_, index) => index === first;
  pair.server.connection.sendTicket(new Uint8Array([7, 8]));
  assert.ok(pair.run(() => pair.client.has("ticket"), 2_000_000));
});

Deno.test("Pair: a reset ends the stream for the reader, and both forget it", () => {
  const pair = connected();
  pair.server.reads = false;
  const id = pair.client.connection.openStream();
  pair.client.connection.write(id, new Uint8Array(100_000));
  pair.sleep(50_000);
  pair.client.connection.resetStream(id, 42);
  pair.client.connection.stopSending(id, 42);
  assert.ok(pair.run(() => pair.server.inbox(id).resetCode === 42, 1_000_000));
  pair.sleep(1_000_000);
  assert.equal(pair.client.connection.streamsOpen, 0);
  assert.equal(pair.server.connection.streamsOpen, 0);
  assert.equal(pair.client.connection.bufferedBytes, 0);
});

Deno.test("Pair: both sides learn the code and reason of a close, once", () => {
  const pair = connected();
  pair.server.connection.close(CloseCode.goElsewhere, "Stopping", pair.nowUs);
  pair.sleep(10_000_000);
  assert.deepEqual(closedOf(pair.server), { code: CloseCode.goElsewhere, reason: "Stopping", byPeer: false });
  assert.deepEqual(closedOf(pair.client), { code: CloseCode.goElsewhere, reason: "Stopping", byPeer: true });
  assert.ok(pair.client.connection.isGone && pair.server.connection.isGone);
  assert.equal(pair.client.connection.nextDeadlineUs(), undefined);
});

Deno.test("Pair: both sides may close at once", () => {
  const pair = connected();
  pair.client.connection.close(CloseCode.none, "", pair.nowUs);
  pair.server.connection.close(CloseCode.none, "", pair.nowUs);
  pair.sleep(10_000_000);
  assert.equal(closedOf(pair.client)?.byPeer, false);
  assert.equal(closedOf(pair.server)?.byPeer, false);
  assert.ok(pair.client.connection.isGone && pair.server.connection.isGone);
});

Deno.test("Pair: a lost CLOSE is repeated to a peer that goes on speaking, ever more rarely", () => {
  const pair = connected();
  const first = pair.server.out.sentPackets;
  pair.server.out.drop = (_, index) => index === first;
  offer(pair, pair.client, 200_000);
  pair.server.connection.close(CloseCode.sessionEnded, "Logged out", pair.nowUs);
  assert.ok(pair.run(() => pair.client.closed === 1, 1_000_000));
  assert.equal(closedOf(pair.client)?.code, CloseCode.sessionEnded);
  assert.ok(pair.server.out.sentPackets - first < 6);
});

Deno.test("Pair: silence ends the connection after the idle timeout, without a word", () => {
  const pair = connected();
  pair.client.out.blackoutUntilUs = pair.server.out.blackoutUntilUs = Infinity;
  const startUs = pair.nowUs, sent = pair.server.out.sentPackets;
  pair.run(() => pair.server.closed === 1 && pair.client.closed === 1, 200_000_000);
  assert.equal(closedOf(pair.server)?.code, CloseCode.idle);
  assert.equal(closedOf(pair.client)?.code, CloseCode.idle);
  assert.ok(pair.nowUs - startUs <= IDLE_TIMEOUT_US + KEEP_ALIVE_US);
  assert.equal(pair.server.out.sentPackets, sent);
});

Deno.test("Pair: an idle client keeps the connection alive, cheaply", () => {
  const pair = connected();
  const sent = pair.client.out.sentPackets;
  pair.sleep(600_000_000);
  assert.equal(pair.client.closed + pair.server.closed, 0);
  const pings = pair.client.out.sentPackets - sent;
  assert.ok(pings >= 38 && pings <= 42, `${pings} packets in ten minutes`);
});

Deno.test("Pair: keys change in the middle of a transfer, from both sides", () => {
  const reordering = { jitterUs: 15_000, loss: 0.01 };
  const pair = connected({
    toServer: reordering,
    toClient: reordering,
    client: { packetsPerKeyMax: 40 },
    server: { packetsPerKeyMax: 70 },
  });
  const up = offer(pair, pair.client, 500_000), down = offer(pair, pair.server, 500_000);
  assert.ok(pair.run(() => pair.server.inbox(up).finished && pair.client.inbox(down).finished));
  assert.deepEqual(pair.server.text(up), streamBytes(up, true, 0, 500_000));
  assert.ok(pair.client.connection.stats.keyUpdates >= 5, `${pair.client.connection.stats.keyUpdates} updates`);
  const updates = [pair.client, pair.server].map((peer) => peer.connection.stats.keyUpdates) as [number, number];
  assert.ok(Math.abs(updates[0] - updates[1]) <= 1, `updates ${updates}`);
});

Deno.test("Pair: keys change by age", () => {
  const pair = connected({ client: { keyAgeUsMax: 60_000_000 } });
  pair.sleep(330_000_000);
  assert.ok(pair.client.connection.stats.keyUpdates >= 4, `${pair.client.connection.stats.keyUpdates} updates`);
  assert.equal(pair.client.closed, 0);
});

Deno.test("Pair: every packet replayed changes nothing", () => {
  const pair = connected();
  pair.recorded = [];
  const id = offer(pair, pair.client, 50_000);
  assert.ok(pair.run(() => pair.server.inbox(id).finished));
  pair.sleep(1_000_000);
  const before = pair.server.events.length, sent = pair.server.connection.stats.datagramsSent;
  const packets = pair.recorded.filter((datagram) => datagram.toServer);
  for (const { bytes } of packets) {
    const isNew = pair.server.connection.handleDatagram(bytes.slice(), bytes.length, pair.clientAddress, pair.nowUs);
    assert.equal(isNew, false);
  }
  pair.pump();
  assert.equal(pair.server.connection.stats.duplicates, packets.length);
  assert.equal(pair.server.events.length, before);
  assert.equal(pair.server.connection.stats.datagramsSent, sent, "A replay earned a reply");
});

Deno.test("Pair: forged packets are counted and earn nothing, until there are too many", () => {
  const pair = connected({ server: { failedOpensMax: 100 } });
  pair.recorded = [];
  pair.client.connection.ping();
  pair.pump();
  const genuine = pair.recorded[0]!.bytes;
  const sent = pair.server.connection.stats.datagramsSent;
  for (let i = 0; i < 99; i++) {
    const forged = genuine.slice();
    const at = pair.prng.integer(9, forged.length - 1);
    forged[at] = forged[at]! ^ (1 + pair.prng.integer(0, 254));
    assert.equal(pair.server.connection.handleDatagram(forged, forged.length, pair.clientAddress, pair.nowUs), false);
  }
  pair.pump();
  assert.equal(pair.server.connection.stats.failedOpens, 99);
  assert.equal(pair.server.connection.stats.datagramsSent, sent);
  assert.equal(pair.server.closed, 0);
  const forged = pair.prng.bytes(1200);
  forged.set(genuine.subarray(0, 9));
  forged[9] = 0x7f;
  pair.server.connection.handleDatagram(forged, forged.length, pair.clientAddress, pair.nowUs);
  pair.sleep(1_000_000);
  assert.equal(closedOf(pair.server)?.code, CloseCode.aeadLimit);
  assert.equal(closedOf(pair.client)?.code, CloseCode.aeadLimit);
});

Deno.test("Pair: a connection ends before its packet numbers do", () => {
  const pair = connected({ client: { firstPacketNumber: 2 ** 48 - 60 } });
  const id = offer(pair, pair.client, 300_000);
  assert.ok(pair.run(() => pair.client.closed === 1 && pair.server.closed === 1, 20_000_000));
  assert.equal(pair.server.inbox(id).finished, false);
  assert.equal(closedOf(pair.client)?.code, CloseCode.aeadLimit);
  assert.equal(closedOf(pair.server)?.code, CloseCode.aeadLimit);
});

Deno.test("Pair: the client recognises a stateless reset, and only with its own token", () => {
  const pair = connected();
  const reset = pair.prng.bytes(40);
  reset[0] = 0x40;
  pair.client.connection.handleDatagram(reset.slice(), reset.length, pair.serverAddress, pair.nowUs);
  assert.ok(pair.client.connection.isOpen);
  reset.set(pair.resetToken, 24);
  pair.client.connection.handleDatagram(reset, reset.length, pair.serverAddress, pair.nowUs);
  pair.pump();
  assert.deepEqual(closedOf(pair.client)?.code, CloseCode.reset);
  assert.ok(pair.client.connection.isGone);
});

Deno.test("Pair: the connection follows a client that appears under another address", () => {
  const pair = connected();
  const id = pair.client.connection.openStream();
  pair.client.connection.write(id, streamBytes(id, true, 0, 20_000));
  pair.run(() => pair.server.inbox(id).bytes === 20_000);
  pair.rebind();
  const address = pair.clientAddress, startUs = pair.nowUs;
  pair.client.connection.write(id, streamBytes(id, true, 20_000, 40_000), true);
  assert.ok(pair.run(() => pair.client.connection.bufferedBytes === 0, 5_000_000));
  assert.ok(pair.nowUs - startUs < 500_000, `took ${pair.nowUs - startUs} µs`);
  assert.deepEqual(pair.server.connection.peer, address);
  assert.equal(pair.server.connection.stats.moves, 1);
  const down = offer(pair, pair.server, 30_000);
  assert.ok(pair.run(() => pair.client.inbox(down).finished, 5_000_000));
});

Deno.test("Pair: what was in flight to the old address is sent again at once, and the new path measured afresh", () => {
  const pair = connected({ toServer: { delayUs: 50_000 }, toClient: { delayUs: 50_000 } });
  const warm = offer(pair, pair.server, 300_000);
  assert.ok(pair.run(() => pair.client.inbox(warm).finished, 10_000_000));
  pair.sleep(1_000_000);
  assert.ok(pair.server.connection.stats.windowBytes > 12_000);
  pair.rebind();
  const down = offer(pair, pair.server, 5_000);
  pair.pump();
  const startUs = pair.nowUs;
  pair.client.connection.ping();
  assert.ok(pair.run(() => pair.server.connection.stats.moves === 1, 1_000_000));
  assert.equal(pair.nowUs - startUs, 150_000, "Ping, challenge, response");
  assert.equal(pair.server.connection.stats.windowBytes, 12_000);
  assert.equal(pair.server.connection.stats.rttUs, 0);
  assert.ok(pair.run(() => pair.client.inbox(down).finished, 1_000_000));
  assert.equal(pair.nowUs - startUs, 200_000);
});

Deno.test("Pair: an address that does not answer gets three times what came from it at most, and no data", () => {
  const pair = connected();
  const victim = { host: "198.51.100.9", port: 53 }, home = pair.clientAddress;
  pair.recorded = [];
  // Somebody on the path sends the client's packets on from another address, before the originals arrive.
  let fromVictim = 0;
  pair.client.out.drop = (bytes) => {
    fromVictim += bytes.length;
    pair.server.connection.handleDatagram(bytes.slice(), bytes.length, victim, pair.nowUs);
    return true;
  };
  const down = offer(pair, pair.server, 100_000);
  for (let i = 0; i < 20; i++) {
    pair.client.connection.ping();
    pair.sleep(20_000);
  }
  const toVictim = pair.recorded.filter((datagram) => datagram.to.host === victim.host);
  const bytes = toVictim.reduce((sum, datagram) => sum + datagram.bytes.length, 0);
  assert.ok(toVictim.length > 0, "It was never challenged");
  assert.ok(bytes <= 3 * fromVictim && toVictim.every((datagram) => datagram.bytes.length < 60), `${bytes} bytes`);
  assert.deepEqual(pair.server.connection.peer, home);
  pair.client.out.drop = undefined;
  assert.ok(pair.run(() => pair.client.inbox(down).finished, 20_000_000));
});

Deno.test("Pair: random lives keep their promises", () => {
  for (let seed = 1; seed <= 200; seed++) runScenario(seed);
});
