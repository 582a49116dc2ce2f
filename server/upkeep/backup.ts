/** `backup`: a copy of the database, and of the keys where asked for, while a cluster serves (SECURITY P4). */
import { basename, dirname } from "node:path";
import { dataPaths, loadClusterKeys, readKeyFiles } from "../../shared/cluster/mod.ts";
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import { VERSION } from "../../shared/version.ts";
import { StartError } from "../start_error.ts";
import { discard, makeBackup, temporaryOf } from "../store/backup.ts";
import { databaseOf, exists, isFolder } from "./data_dir.ts";
import { describeBackup, progress, type UpkeepFace } from "./face.ts";

export interface BackupWish {
  readonly file: string;
  readonly dataDir: string;
  readonly withKeys: boolean;
  readonly force: boolean;
}

/** @throws StartError, DamagedError */
export async function backUp({ file, dataDir, withKeys, force }: BackupWish, face: UpkeepFace): Promise<void> {
  const from = await databaseOf(dataDir);
  if (await isFolder(file)) {
    throw new StartError(2, `Cannot back up to ${file}: it is a folder. Say which file to make there`);
  }
  const folder = dirname(file);
  if (!await isFolder(folder)) throw new StartError(2, `Cannot back up to ${file}: there is no folder ${folder}`);
  if (!force && await exists(file)) {
    throw new StartError(2, `Cannot back up to ${file}: it is there already. Choose another name, or say --force`);
  }
  const keys = await loadClusterKeys(dataDir, { create: false });
  const keyFiles = withKeys ? await readKeyFiles(dataDir) : new Map<string, Uint8Array>();
  const manifest = await orDiscard(temporaryOf(file), () =>
    makeBackup({
      from,
      to: file,
      about: {
        program: VERSION,
        madeAt: new Date().toISOString(),
        clusterId: keys.clusterId.toHex(),
        fingerprint: formatFingerprint(keys.fingerprint),
      },
      keys: keyFiles,
      onProgress: progress("Copying", face),
    }));
  const { size } = await Deno.stat(file);
  face.print(`${file}: ${size} bytes, ${describeBackup(manifest)}\n`);
  face.tell(
    withKeys
      ? `Whoever has ${basename(file)} can be this server: keep it as you keep a password\n`
      : `A database is of no use without the cluster's keys: keep a copy of ${dataPaths(dataDir).keys} apart from it\n`,
  );
}

/** Ctrl-C in the middle leaves nothing behind either. */
async function orDiscard<T>(temporary: string, make: () => Promise<T>): Promise<T> {
  const stop = () => {
    discard(temporary);
    Deno.exit(1);
  };
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  try {
    return await make();
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, stop);
  }
}
