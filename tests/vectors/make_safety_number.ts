/**
 * Writes safety_number.json anew: `deno run -A tests/vectors/make_safety_number.ts`. WebCrypto and BigInt, after docs/PROTOCOL.md §19,
 * not the code under test.
 */
import { TEST_CLUSTER } from "../keys.ts";

interface Person {
  readonly name: string;
  readonly identity: Uint8Array;
}

async function sha512(bytes: number[] | Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-512", new Uint8Array(bytes)));
}

async function half(cluster: Uint8Array, { name, identity }: Person): Promise<string> {
  const bytes = [...name].map((char) => char.charCodeAt(0));
  const label = [..."fastchat/safety/1"].map((char) => char.charCodeAt(0));
  let hash = await sha512([...label, ...cluster, bytes.length, ...bytes, ...identity]);
  for (let i = 0; i < 5200; i++) hash = await sha512([...hash, ...identity]);
  const groups = [0, 1, 2, 3, 4, 5].map((i) => BigInt("0x" + hash.slice(i * 5, i * 5 + 5).toHex()) % 100000n);
  return groups.map((group) => group.toString().padStart(5, "0")).join("");
}

const identity = (byte: number) => new Uint8Array(32).fill(byte);
const cases: [Uint8Array, Person, Person][] = [
  [TEST_CLUSTER, { name: "alice", identity: identity(1) }, { name: "bob", identity: identity(2) }],
  [TEST_CLUSTER, { name: "alice", identity: identity(1) }, { name: "bob", identity: identity(3) }],
  [new Uint8Array(16), { name: "alice", identity: identity(1) }, { name: "bob", identity: identity(2) }],
  [TEST_CLUSTER, { name: "a", identity: identity(255) }, { name: "a.b_c-" + "z".repeat(26), identity: identity(0) }],
];
const vectors = [];
for (const [cluster, one, other] of cases) {
  vectors.push({
    clusterId: cluster.toHex(),
    people: [one, other].map(({ name, identity }) => ({ name, identity: identity.toHex() })),
    number: await half(cluster, one) + await half(cluster, other),
  });
}
await Deno.writeTextFile(
  new URL("safety_number.json", import.meta.url),
  JSON.stringify({ vectors }, null, 2) + "\n",
);
