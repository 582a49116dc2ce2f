import assert from "node:assert/strict";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { monotonicClock } from "../../../shared/net/clock.ts";
import { Driver } from "../../../shared/net/driver.ts";
import { openUdp } from "../../../shared/net/udp_socket.ts";
import type { Endpoint } from "../../../shared/transport/mod.ts";

Deno.test("Driver: a datagram that breaks the endpoint costs that datagram, and the next one is heard", async () => {
  const errors: string[] = [], heard = Promise.withResolvers<void>();
  const driver = new Driver({
    primitives: await createPrimitives(),
    host: "127.0.0.1",
    port: 0,
    clock: monotonicClock,
    logger: { log: (level, event) => errors.push(`${level} ${event}`) },
    performTask: () => Promise.resolve(undefined),
    onReady: () => ({ handleEvent() {} }),
  });
  const endpoint: Endpoint = {
    handleDatagram(datagram) {
      if (datagram[0] === 1) throw new Error("Assertion failed");
      heard.resolve();
      return undefined;
    },
    handleTimeout() {},
    nextDeadlineUs: () => undefined,
    pollAnswer: () => undefined,
    pollTask: () => undefined,
    completeTask() {},
    touch() {},
    takeDirty: () => undefined,
    pollEvent: () => undefined,
    settle() {},
    links: () => [],
    failure: undefined,
  };
  driver.start(endpoint);
  const sockets = openUdp({ host: "127.0.0.1", port: 0, onDatagram() {} });
  const send = (byte: number) =>
    new Promise<void>((resolve) => sockets.first.send(new Uint8Array([byte]), driver.sockets.address, resolve));
  await send(1);
  await send(2);
  await heard.promise;
  assert.deepEqual(errors, ["error datagram failed"]);
  await Promise.all([driver.close(), sockets.close()]);
});
