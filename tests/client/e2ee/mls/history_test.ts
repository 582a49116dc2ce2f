/**
 * Histories of groups: that every newcomer joins and everybody agrees after every step (SECURITY M3).
 *
 * `FASTCHAT_MLS_STEPS=500 deno test …/history_test.ts` runs the long one, `FASTCHAT_MLS_SEED` another; a failure names both.
 */
import assert from "node:assert/strict";
import { joinGroup } from "ts-mls/clientState.js";
import { emptyPskIndex } from "ts-mls/pskIndex.js";
import { clientConfig } from "../../../../client/e2ee/mls/profile.ts";
import { privateKeysOf, publicPackageOf } from "../../../../client/e2ee/mls/key_packages.ts";
import { decodeMessage } from "../../../../client/e2ee/mls/wire.ts";
import { Prng } from "../../../sim/prng.ts";
import { assertAgree, everybodyDoes, mlsFor, Person } from "./people.ts";
import type { SuiteName } from "../../../../client/e2ee/mls/mod.ts";

Deno.test("joinFromWelcome() joins after the five commits at which the library's own join fails", async () => {
  const mls = await mlsFor(), everyone: Person[] = [await (await Person.make(mls, "a")).create()];
  const [a] = everyone as [Person], newcomer = (name: string) => Person.make(mls, name);
  const add = async (count: number) => {
    const added = await Promise.all(Array.from({ length: count }, (_, i) => newcomer(`m${everyone.length + i}`)));
    const committed = await everybodyDoes(everyone, a, { add: added });
    everyone.push(...added);
    return { added, committed };
  };
  await add(6);
  await everybodyDoes(everyone, everyone[4]!, {});
  await add(1);
  await everybodyDoes(everyone, a, {});
  const last = await newcomer("last"), committed = await a.propose({ add: [last] });
  const ownPackage = [...last.packages.values()][0]!;
  const welcome = decodeMessage(committed.welcomes[0]!.bytes);
  assert(welcome?.wireformat === "mls_welcome");
  // The library is given the very tree that everybody holds.
  await assert.rejects(
    joinGroup(
      welcome.welcome,
      publicPackageOf(ownPackage),
      privateKeysOf(ownPackage, last.device),
      emptyPskIndex,
      mls.suite,
      committed.group.pending!.state.ratchetTree,
      undefined,
      clientConfig(mls.credentials),
    ),
    /unmerged/,
  );
  for (const member of everyone) assert.equal((await member.receive(committed.body)).kind, "commit");
  await last.join(committed);
  assertAgree([...everyone, last]);
});

const STEPS = Number(Deno.env.get("FASTCHAT_MLS_STEPS") ?? 120);
const SEED = Number(Deno.env.get("FASTCHAT_MLS_SEED") ?? 4711);

Deno.test(`history: ${STEPS} random operations, everybody joins and agrees`, () =>
  randomHistory("x25519", SEED, STEPS));
Deno.test("history: the same with X-Wing, shorter", () => randomHistory("x-wing", SEED + 1, Math.ceil(STEPS / 8)));

/** Adds, updates and removals by random members; after each everybody agrees, and now and then somebody says something. */
async function randomHistory(suite: SuiteName, seed: number, steps: number): Promise<void> {
  const random = new Prng(seed), mls = await mlsFor(suite);
  const below = (limit: number) => random.integer(0, limit - 1);
  const everyone = [await (await Person.make(mls, "owner")).create()], owner = everyone[0]!;
  let joined = 0;
  for (let step = 0; step < steps; step++) {
    const where = `seed ${seed}, step ${step}`, author = everyone[below(everyone.length)]!, roll = below(10);
    try {
      if (everyone.length < 3 || (roll < 4 && everyone.length < MEMBERS_MAX)) {
        const count = 1 + below(2);
        const added = await Promise.all(Array.from({ length: count }, () => Person.make(mls, `u${joined++}`)));
        await everybodyDoes(everyone, author, { add: added });
        everyone.push(...added);
      } else if (roll < 7) {
        await everybodyDoes(everyone, author, {});
      } else {
        const gone = everyone[1 + below(everyone.length - 1)]!;
        await everybodyDoes(everyone, owner, { remove: [owner.leafOf(gone)] });
        everyone.splice(everyone.indexOf(gone), 1);
      }
      assertAgree(everyone);
      if (step % 10 === 9) await everybodyHears(everyone, everyone[below(everyone.length)]!, where);
    } catch (error) {
      throw new Error(`FASTCHAT_MLS_SEED=${seed}, step ${step} of ${steps}`, { cause: error });
    }
  }
  assert(joined > 0);
}

async function everybodyHears(everyone: readonly Person[], speaker: Person, text: string): Promise<void> {
  const body = await speaker.seal(text);
  for (const listener of everyone) {
    const outcome = await listener.receive(body);
    if (listener === speaker) {
      assert.equal(outcome.kind, "own");
      continue;
    }
    assert(outcome.kind === "message", `${listener.name}: ${outcome.kind}`);
    assert.equal(outcome.sender.user, speaker.name);
    assert.equal(new TextDecoder().decode(outcome.plaintext.content), text);
  }
}

const MEMBERS_MAX = 12;
