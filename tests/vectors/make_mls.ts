/**
 * Makes mls.json: what Carol's device sees of a group of Alice and Bob that adds her, with X-Wing. The keys protect nothing.
 *
 * `deno run -A tests/vectors/make_mls.ts`: fresh randomness each time, so only run it when the format is meant to change.
 */
import { everybodyDoes, mlsFor, Person } from "../client/e2ee/mls/people.ts";

const mls = await mlsFor("x-wing");
const alice = await Person.make(mls, "alice"),
  bob = await Person.make(mls, "bob"),
  carol = await Person.make(mls, "carol");
await alice.create();
await everybodyDoes([alice], alice, { add: [bob] });
const committed = await alice.propose({ add: [carol] }), own = [...carol.packages.values()][0]!;
for (const member of [alice, bob]) await member.receive(committed.body);
await carol.join(committed);
const base64 = (bytes: Uint8Array) => bytes.toBase64(), authenticator = carol.authenticator, rows: unknown[] = [];

/** A row that everybody reads. */
async function row(author: Person, body: Uint8Array, text?: string): Promise<void> {
  for (const member of [alice, bob, carol]) await member.receive(body);
  const kind = text === undefined ? "commit" : "message";
  rows.push({ kind, body: base64(body), sender: author.name, text, authenticator: carol.authenticator });
}

await row(bob, await bob.seal("hello carol"), "hello carol");
await row(bob, (await bob.propose({})).body);
await row(alice, await alice.seal("new keys, bob?"), "new keys, bob?");
await row(alice, (await alice.propose({ remove: [alice.leafOf(bob)] })).body);
await row(alice, await alice.seal("he is gone"), "he is gone");

await Deno.writeTextFile(
  new URL("mls.json", import.meta.url),
  JSON.stringify(
    {
      source: "tests/vectors/make_mls.ts, ts-mls 1.6.4",
      device: { certificate: base64(carol.device.certificate), leafPkcs8: base64(carol.device.leafPkcs8) },
      keyPackage: { ref: own.ref, public: base64(own.publicBytes), private: base64(own.privateBytes) },
      welcome: base64(committed.welcomes[0]!.bytes),
      sealedTree: base64(committed.sealedTree!),
      authenticator,
      rows,
    },
    null,
    2,
  ) + "\n",
);
