/** Writes resumption.json anew: `deno run -A tests/vectors/generate_resumption.ts`. Every byte follows from the inputs. */
import { testKeys } from "../keys.ts";
import { resume } from "./resumption_exchange.ts";

const { aliceIdentity } = await testKeys();
const sequence = (first: number, length: number) => Uint8Array.from({ length }, (_, index) => first + index).toHex();
const inputs = {
  clusterKey: aliceIdentity.spki.toHex(),
  clusterId: sequence(0xc0, 16),
  tokenKey: sequence(0x20, 32),
  ticketKeyId: sequence(0x10, 8),
  ticketKey: sequence(0xa0, 32),
  user: "alice",
  device: sequence(0x01, 16),
  session: sequence(0x30, 32),
  generation: 7,
  earlierConnectionId: "0400000501020304",
  earlierResumption: sequence(0x40, 32),
  ticketNonce: sequence(0xd0, 16),
  nextTicketNonce: sequence(0xf0, 16),
  clientPrivate: sequence(0x60, 32),
  serverPrivate: sequence(0x80, 32),
  connectionId: "0500000aa1b2c3d4",
  resetToken: sequence(0xe0, 16),
  host: "192.0.2.7",
  nowSeconds: 1_900_000_000,
  watchMs: 300,
};
const { outputs } = await resume(inputs);
const source = "docs/PROTOCOL.md, sections 2.3 to 2.6 and 4; made by tests/vectors/generate_resumption.ts";
const path = new URL("./resumption.json", import.meta.url);
await Deno.writeTextFile(path, JSON.stringify({ source, inputs, outputs }, null, 2) + "\n");
