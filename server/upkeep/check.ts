/** `check`: whether a data directory is whole, while a cluster serves or not. */
import type { DatabaseSync } from "node:sqlite";
import { type ClusterKeys, ClusterKeysError, EXIT_DAMAGED, loadClusterKeys } from "../../shared/cluster/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { Pepper } from "../pepper.ts";
import { checkDatabase, type CheckReport, openToRead, type Problem } from "../store/check.ts";
import { databaseOf } from "./data_dir.ts";
import { describeCounts, describeProblems, type UpkeepFace } from "./face.ts";

/** @returns The exit code. @throws StartError, StoreVersionError */
export async function check(dataDir: string, json: boolean, face: UpkeepFace): Promise<number> {
  const path = await databaseOf(dataDir), report = await checkDirectory(path, dataDir);
  const { version, counts, problems } = report;
  if (json) {
    face.print(JSON.stringify({ type: "check", ok: problems.length === 0, dataDir, version, counts, problems }) + "\n");
  } else {
    face.print(`${path}, ${describeCounts(report)}\n${problems.length === 0 ? "ok\n" : describeProblems(problems)}`);
  }
  return problems.length === 0 ? 0 : EXIT_DAMAGED;
}

/** The database, and whether the keys beside it are its own. @throws StoreVersionError */
export async function checkDirectory(path: string, dataDir: string): Promise<CheckReport> {
  let database: DatabaseSync;
  try {
    database = openToRead(path);
  } catch (error) {
    // A file whose very first page is no database's; a newer one's refusal is another matter.
    if (!/not a database|malformed/.test((error as Error).message)) throw error;
    return { version: 0, counts: {}, problems: [{ code: "damaged", text: (error as Error).message }] };
  }
  try {
    const report = checkDatabase(database);
    return { ...report, problems: [...report.problems, ...await keyProblems(database, dataDir, report)] };
  } finally {
    database.close();
  }
}

/** Every password hash is sealed under the pepper and its user's name: wrong keys open none, a changed row does not open. */
export function sealedProblems(database: DatabaseSync, keys: ClusterKeys): Problem[] {
  const pepper = new Pepper(keys.pepper);
  let users = 0, sealed = 0;
  for (const row of database.prepare("SELECT name, password_hash FROM users").iterate()) {
    users++;
    try {
      pepper.open("password", row["name"] as UserName, row["password_hash"] as Uint8Array);
    } catch {
      sealed++;
    }
  }
  return sealed === 0
    ? []
    : [{ code: "keys", text: `The keys do not open the password hashes of ${sealed} of ${users} users` }];
}

async function keyProblems(database: DatabaseSync, dataDir: string, { problems }: CheckReport): Promise<Problem[]> {
  if (problems.some(({ code }) => code === "damaged")) return [];
  try {
    return sealedProblems(database, await loadClusterKeys(dataDir, { create: false }));
  } catch (error) {
    if (!(error instanceof ClusterKeysError)) throw error;
    return [{ code: "keys", text: error.message }];
  }
}
