/** Performs what `parseUpkeep` read from the command line. */
import { ClusterKeysError, EXIT_DAMAGED, type Upkeep } from "../../shared/cluster/mod.ts";
import { UsageError } from "../../shared/host/mod.ts";
import { StartError } from "../start_error.ts";
import { DamagedError } from "../store/backup.ts";
import { BackupFileError } from "../store/backup_file.ts";
import { isFailureOfTheDisk } from "../store/full.ts";
import { backUp } from "./backup.ts";
import { check } from "./check.ts";
import { describeProblems, type UpkeepFace } from "./face.ts";
import { restore, verifyBackup } from "./restore.ts";

/** @returns The exit code. @throws StartError, UsageError, and what the system says. */
export async function performUpkeep(upkeep: Upkeep, face: UpkeepFace): Promise<number> {
  try {
    return await perform(upkeep, face);
  } catch (error) {
    if (error instanceof BackupFileError) throw new StartError(EXIT_DAMAGED, error.message, { cause: error });
    if (error instanceof ClusterKeysError) throw new StartError(1, error.message, { cause: error });
    if (isWithoutRoom(error)) {
      const what = upkeep.type === "backup" ? "back up" : upkeep.type;
      throw new StartError(1, `Cannot ${what}: a disk has no room, or it fails (${error.message})`, { cause: error });
    }
    if (!(error instanceof DamagedError)) throw error;
    face.tell(describeProblems(error.report.problems));
    throw new StartError(EXIT_DAMAGED, error.message, { cause: error });
  }
}

/** SQLite's words, or the system's. */
function isWithoutRoom(error: unknown): error is Error {
  return isFailureOfTheDisk(error) || (error instanceof Error && /No space left on device/.test(error.message));
}

async function perform(upkeep: Upkeep, face: UpkeepFace): Promise<number> {
  const { dataDir } = upkeep;
  if (upkeep.type === "restore") {
    const { file, verify, endSessions } = upkeep;
    if (dataDir === undefined) await verifyBackup(file, face);
    else await restore({ file, dataDir, again: verify, endSessions }, face);
    return 0;
  }
  if (dataDir === undefined) throw new UsageError("Say where keys and messages are: --data DIR");
  if (upkeep.type === "check") return await check(dataDir, upkeep.json, face);
  await backUp({ ...upkeep, dataDir }, face);
  return 0;
}
