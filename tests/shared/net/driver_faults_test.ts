import assert from "node:assert/strict";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { monotonicClock } from "../../../shared/net/clock.ts";
import { Driver } from "../../../shared/net/driver.ts";
import { openUdp } from "../../../shared/net/udp_socket.ts";
import type { Answer, Endpoint, Task } from "../../../shared/transport/mod.ts";

/** An endpoint that does nothing but what a test says. */
function endpointWith(parts: Partial<Endpoint>): Endpoint {
  return {
    handleDatagram: () => undefined,
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
    ...parts,
  };
}

const primitives = await createPrimitives();

Deno.test("Driver: a datagram that breaks the endpoint costs that datagram, and the next one is heard", async () => {
  const errors: string[] = [], heard = Promise.withResolvers<void>();
  const driver = new Driver({
    primitives,
    host: "127.0.0.1",
    port: 0,
    clock: monotonicClock,
    logger: { log: (level, event) => errors.push(`${level} ${event}`) },
    performTask: () => Promise.resolve(undefined),
    onReady: () => ({ handleEvent() {} }),
  });
  driver.start(endpointWith({
    handleDatagram(datagram) {
      if (datagram[0] === 1) throw new Error("Assertion failed");
      heard.resolve();
      return undefined;
    },
  }));
  const sockets = openUdp({ host: "127.0.0.1", port: 0, onDatagram() {} });
  const send = (byte: number) =>
    new Promise<void>((resolve) => sockets.first.send(new Uint8Array([byte]), driver.sockets.address, resolve));
  await send(1);
  await send(2);
  await heard.promise;
  assert.deepEqual(errors, ["error datagram failed"]);
  await Promise.all([driver.close(), sockets.close()]);
});

Deno.test("Driver hears and answers while RSA is under way, and tells the endpoint how it ended afterwards", async () => {
  const rsa = Promise.withResolvers<Uint8Array | undefined>(), answered = Promise.withResolvers<Uint8Array>();
  const completed = Promise.withResolvers<[number, Uint8Array | undefined]>();
  const tasks: Task[] = [{ type: "decrypt", id: 7, label: "x", ciphertext: new Uint8Array(384) }];
  const answers: Answer[] = [];
  const driver = new Driver({
    primitives,
    host: "127.0.0.1",
    port: 0,
    clock: monotonicClock,
    logger: { log() {} },
    performTask: () => rsa.promise,
    onReady: () => ({ handleEvent() {} }),
  });
  driver.start(endpointWith({
    handleDatagram(datagram, from) {
      answers.push({ bytes: datagram.slice(), to: from });
      return undefined;
    },
    pollTask: () => tasks.shift(),
    pollAnswer: () => answers.shift(),
    completeTask: (id, result) => completed.resolve([id, result]),
  }));
  const sockets = openUdp({ host: "127.0.0.1", port: 0, onDatagram: (bytes) => answered.resolve(bytes.slice()) });
  sockets.first.send(new Uint8Array([5]), driver.sockets.address, () => {});
  // It would never come if anything waited for RSA.
  assert.deepEqual(await answered.promise, new Uint8Array([5]));
  rsa.resolve(new Uint8Array(32));
  assert.deepEqual(await completed.promise, [7, new Uint8Array(32)]);
  await Promise.all([driver.close(), sockets.close()]);
});
