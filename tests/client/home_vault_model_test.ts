/** Random lives of a home that several processes use at once, against the obvious version. */
import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { Database } from "../../client/home/database.ts";
import { LockedError, UsageError } from "../../client/errors.ts";
import { withFolder } from "./homes.ts";
import { stretched, TEST_OWNER } from "./passwords.ts";

const PROCESSES = 3, PASSWORDS = 3, TOKENS = 2;

type Step =
  | { readonly do: "seal" | "undone" | "restart"; readonly process: number }
  | { readonly do: "unlock" | "rewrap"; readonly process: number; readonly password: number }
  | { readonly do: "token" | "addToken" | "revoke"; readonly process: number; readonly token: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constantFrom("seal" as const, "undone" as const, "restart" as const),
    process: fc.nat(PROCESSES - 1),
  }),
  fc.record({
    do: fc.constantFrom("unlock" as const, "rewrap" as const),
    process: fc.nat(PROCESSES - 1),
    password: fc.nat(PASSWORDS - 1),
  }),
  fc.record({
    do: fc.constantFrom("token" as const, "addToken" as const, "revoke" as const),
    process: fc.nat(PROCESSES - 1),
    token: fc.nat(TOKENS - 1),
  }),
);

Deno.test("HomeVault: in random lives of three processes nothing sealed is ever lost, and only what should opens it", async () => {
  const passwords = await Promise.all(Array.from({ length: PASSWORDS }, (_, at) => stretched(`password ${at}`)));
  const tokens = Array.from({ length: TOKENS }, (_, at) => new Uint8Array(32).fill(at + 1));
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      await withFolder((folder) => live(join(folder, "home.db"), steps, passwords, tokens));
    }),
    { numRuns: 25 },
  );
});

function live(
  path: string,
  steps: readonly Step[],
  passwords: readonly Awaited<ReturnType<typeof stretched>>[],
  tokens: readonly Uint8Array[],
): void {
  const databases = Array.from({ length: PROCESSES }, () => Database.open(path));
  /** The obvious version: what opens the home, who has the key, and what was sealed. */
  let password: number | undefined, hasKey = false;
  const seals = new Map<number, number>(), unlocked = new Set<number>(), sealed: Uint8Array[] = [];
  const isUnlocked = (process: number) => (password === undefined) || unlocked.has(process);
  const plain = (at: number) => new TextEncoder().encode(`row ${at}`);
  try {
    for (const { process, ...what } of steps) {
      const database = databases[process]!, { vault } = database;
      assert.equal(vault.isLocked, !isUnlocked(process));
      const attempt = (act: () => void) => {
        if (isUnlocked(process)) return act();
        assert.throws(act, LockedError);
      };
      switch (what.do) {
        case "seal":
          attempt(() => {
            const at = sealed.length;
            sealed.push(database.transaction(() => vault.seal(plain(at), `rows ${at}`)));
            hasKey = true;
            if (password === undefined) unlocked.add(process);
          });
          break;
        case "undone":
          assert.throws(() =>
            database.transaction(() => {
              vault.seal(plain(0), "rows 0");
              throw new RangeError("killed");
            }), isUnlocked(process) ? RangeError : LockedError);
          break;
        case "restart":
          database.close();
          databases[process] = Database.open(path);
          unlocked.delete(process);
          break;
        case "rewrap":
          attempt(() => {
            // Whoever has used the home while it lay open has its key for good.
            vault.rewrap(passwords[what.password]!, TEST_OWNER);
            password = what.password;
            hasKey = true;
            unlocked.add(process);
          });
          break;
        case "unlock": {
          const isRight = vault.unlockWithPassword(passwords[what.password]!);
          assert.equal(isRight, what.password === password);
          if (isRight) unlocked.add(process);
          break;
        }
        case "token": {
          const isRight = vault.unlockWithToken(tokens[what.token]!);
          assert.equal(isRight, seals.has(what.token));
          if (isRight) unlocked.add(process);
          break;
        }
        case "addToken":
          if (password === undefined) assert.throws(() => vault.addToken(tokens[what.token]!, "f"), UsageError);
          else if (!seals.has(what.token)) {
            attempt(() => void seals.set(what.token, vault.addToken(tokens[what.token]!, "f")));
          }
          if (password === undefined) hasKey = true, unlocked.add(process);
          break;
        case "revoke":
          assert.equal(vault.tokenId(tokens[what.token]!), seals.get(what.token));
          assert.equal(vault.revokeToken(seals.get(what.token) ?? -1), seals.delete(what.token));
      }
      // Processes that looked while the home lay open have the key; the model learns of it by asking.
      for (const [at, { vault }] of databases.entries()) {
        if (vault.isLocked) assert.equal(unlocked.has(at) && password !== undefined, false);
        else if (hasKey) unlocked.add(at);
      }
      for (const [at, bytes] of sealed.entries()) {
        if (isUnlocked(process)) assert.deepEqual(databases[process]!.vault.open(bytes, `rows ${at}`), plain(at));
      }
    }
  } finally {
    for (const database of databases) database.close();
  }
}
