/** What somebody nobody knows yet may have under way at a server: little, and never at others' expense (SECURITY H7, P7). */
import assert from "node:assert/strict";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import { CONNECTION_WINDOW_BYTES, STRANGER_BYTES_MAX } from "../../../shared/limits.ts";
import { ReadBudget } from "../../../shared/net/message_reader.ts";
import type { Channel } from "../../../shared/net/mod.ts";
import { ReceiveCredit } from "../../../shared/transport/flow_control.ts";
import { connectTo, listen } from "./cluster.ts";

Deno.test("ChannelServer: a stranger's large message ends its connection; once welcome it may send one", async () => {
  const got: number[] = [], arrived = Promise.withResolvers<void>();
  let isWelcome = false;
  const server = await listen((channel: Channel) => {
    channel.handler = {
      onStream: (stream) =>
        stream.handler = {
          onMessage: (message) => {
            got.push(message.length);
            if (isWelcome) channel.welcome();
            if (message.length > STRANGER_BYTES_MAX) arrived.resolve();
          },
        },
      onClose() {},
    };
  }, { strangerBytesMax: STRANGER_BYTES_MAX });
  const large = new Uint8Array(1 << 20);
  const first = await connectTo(server.address);
  const closed = new Promise<number>((resolve) =>
    first.channel.handler = { onStream() {}, onClose: ({ code }) => resolve(code) }
  );
  const stream = first.channel.openStream();
  stream.send(new Uint8Array(20_000));
  stream.send(large);
  assert.equal(await closed, CloseCode.flowControl);
  assert.deepEqual(got, [20_000]);
  isWelcome = true;
  const second = await connectTo(server.address);
  second.channel.handler = { onStream() {}, onClose() {} };
  const again = second.channel.openStream();
  again.send(new Uint8Array(20_000));
  again.send(large);
  await arrived.promise;
  assert.deepEqual(got, [20_000, 20_000, 1 << 20]);
  second.channel.close(0, "");
  await Promise.all([first.ended, second.ended]);
  await server.close(0, "");
});

Deno.test("ReadBudget: what is a connection's own is there though others have used up what is common", () => {
  const common = new ReadBudget(1000);
  const greedy = new ReadBudget(2000, common, 100), modest = new ReadBudget(2000, common, 100);
  greedy.take(1100);
  modest.take(100);
  assert.throws(() => modest.take(1), TransportError);
  assert.deepEqual([common.used, modest.used], [1000, 100]);
  greedy.give(1100);
  modest.take(500);
  modest.give(600);
  assert.deepEqual([common.used, greedy.used, modest.used], [0, 0, 0]);
});

Deno.test("ReadBudget.move() takes what is held along", () => {
  const strangers = new ReadBudget(100), members = new ReadBudget(1000);
  const one = new ReadBudget(50, strangers);
  one.take(40);
  one.move(500, members, 10);
  assert.deepEqual([strangers.used, members.used, one.used], [0, 30, 40]);
  one.take(400);
  one.give(440);
  assert.deepEqual([members.used, one.used], [0, 0]);
});

Deno.test("ReceiveCredit.widen() grants the difference, and never takes back", () => {
  const credit = new ReceiveCredit(STRANGER_BYTES_MAX);
  credit.receive(1000);
  credit.consume(1000);
  credit.widen(CONNECTION_WINDOW_BYTES);
  assert.equal(credit.wantsUpdate, true);
  assert.equal(credit.grant(), CONNECTION_WINDOW_BYTES + 1000);
  credit.widen(1);
  assert.equal(credit.grant(), CONNECTION_WINDOW_BYTES + 1000);
});
