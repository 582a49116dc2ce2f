import assert from "node:assert/strict";
import fc from "fast-check";
import { formatSafetyNumber, parseSafetyNumber, safetyNumber, type SafetyPerson } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import file from "../../vectors/safety_number.json" with { type: "json" };

Deno.test("safetyNumber() gives the published numbers, whoever comes first", () => {
  for (const { clusterId, people, number } of file.vectors) {
    const cluster = Uint8Array.fromHex(clusterId);
    const [one, other] = people.map(({ name, identity }) => ({
      name: name as UserName,
      identity: Uint8Array.fromHex(identity),
    })) as [SafetyPerson, SafetyPerson];
    assert.equal(safetyNumber(cluster, one, other), number);
    assert.equal(safetyNumber(cluster, other, one), number);
  }
});

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const name = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,31}$/) as fc.Arbitrary<UserName>;
const person = fc.record({ name, identity: bytes(32) });
const pair = fc.tuple(person, person).filter(([one, other]) => one.name !== other.name);

Deno.test("safetyNumber() is the same on both sides and another one after any change", () => {
  const change = fc.constantFrom("cluster", "name", "identity", "other name", "other identity", "swapped identities");
  fc.assert(
    fc.property(bytes(16), pair, change, fc.nat(), name, (cluster, [one, other], what, at, newName) => {
      const number = safetyNumber(cluster, one, other);
      assert.match(number, /^[0-9]{60}$/);
      assert.equal(safetyNumber(cluster, other, one), number);

      fc.pre(newName !== one.name && newName !== other.name);
      const flipped = (from: Uint8Array) =>
        from.map((byte, i) => i === (at >> 3) % from.length ? byte ^ 1 << (at & 7) : byte);
      const changed = {
        cluster: () => safetyNumber(flipped(cluster), one, other),
        name: () => safetyNumber(cluster, { ...one, name: newName }, other),
        identity: () => safetyNumber(cluster, { ...one, identity: flipped(one.identity) }, other),
        "other name": () => safetyNumber(cluster, one, { ...other, name: newName }),
        "other identity": () => safetyNumber(cluster, one, { ...other, identity: flipped(other.identity) }),
        "swapped identities": () =>
          one.identity.toHex() === other.identity.toHex()
            ? ""
            : safetyNumber(cluster, { ...one, identity: other.identity }, { ...other, identity: one.identity }),
      }[what]();
      assert.notEqual(changed, number, what);
    }),
    { numRuns: 40 },
  );
});

Deno.test("parseSafetyNumber() reads what formatSafetyNumber() wrote, however it was copied", () => {
  const number = file.vectors[0]!.number, shown = formatSafetyNumber(number);
  assert.equal(shown.split(" ").length, 12);
  const copies = [
    number,
    shown,
    ` ${shown}\n`,
    shown.replaceAll(" ", "-"),
    shown.replaceAll(" ", "\u00a0"),
    shown.replace(" ", "\r\n"),
  ];
  for (const copy of copies) assert.equal(parseSafetyNumber(copy), number);
});

Deno.test("parseSafetyNumber() refuses what is no number of 60 digits", () => {
  const number = file.vectors[0]!.number;
  const others = ["", "1", number.slice(1), number + "0", "x" + number.slice(1), "１" + number.slice(1), `+${number}`];
  for (const other of others) assert.equal(parseSafetyNumber(other), undefined, other);
});
