/**
 * Files and directories for nobody but their owner: keys, tokens, sockets (SECURITY P11).
 *
 * Windows has no such mode bits: there the user's profile directory is the protection, and nothing is checked here.
 */
import { dirname } from "node:path";

/** A file or directory that others could read or write, and that must be closed before we use it. */
export class PrivateFileError extends Error {
  override readonly name = "PrivateFileError";
}

/**
 * Makes a directory with mode 0700, parents included, unless it is there.
 *
 * @throws PrivateFileError where it is there and open to others: who may write to it could swap what we rely on.
 */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  const info = await Deno.stat(path);
  if (!info.isDirectory) throw new PrivateFileError(`Cannot use ${path}: it is not a directory`);
  refuseOpen(path, info, `chmod 700 '${path}'`);
}

/** As {@linkcode ensurePrivateDirectory}, without making it. */
export async function checkPrivateDirectory(path: string): Promise<void> {
  refuseOpen(path, await Deno.stat(path), `chmod 700 '${path}'`);
}

/**
 * Replaces `path` by `data` as one step, mode 0600: after a crash there is the old content or the new, never a part.
 *
 * @param data Text is written as UTF-8.
 */
export async function writePrivateFile(path: string, data: Uint8Array | string): Promise<void> {
  const temporary = await writeBeside(path, data);
  try {
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
  await syncDirectory(dirname(path));
}

/**
 * Writes `path` only if nobody did before, as one step, and returns what is there afterwards: of two programs that start at
 * once, both get the same bytes.
 */
export async function createPrivateFile(path: string, data: Uint8Array | string): Promise<Uint8Array> {
  const temporary = await writeBeside(path, data);
  try {
    // A hard link fails where its name is taken; a rename would replace what the other program already uses.
    await Deno.link(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  } finally {
    await Deno.remove(temporary).catch(() => {});
  }
  return await readPrivateFile(path);
}

/**
 * The bytes of a file that only its owner may read.
 *
 * @throws PrivateFileError where others may read it. @throws Deno.errors.NotFound
 */
export async function readPrivateFile(path: string): Promise<Uint8Array> {
  using file = await Deno.open(path, { read: true });
  // The open file is asked, not the path: nobody can swap it in between.
  refuseOpen(path, await file.stat(), `chmod 600 '${path}'`);
  return new Uint8Array(await new Response(file.readable).arrayBuffer());
}

/** As {@linkcode readPrivateFile}, as text. */
export async function readPrivateText(path: string): Promise<string> {
  return new TextDecoder().decode(await readPrivateFile(path));
}

/**
 * Overwrites a file and removes it. On disks that write elsewhere what is written anew (flash, snapshots) the old bytes may
 * stay for a while: only an encrypted disk helps there.
 */
export function shredFile(path: string): void {
  try {
    {
      using file = Deno.openSync(path, { write: true });
      const zeros = new Uint8Array(file.statSync().size);
      for (let at = 0; at < zeros.length;) at += file.writeSync(zeros.subarray(at));
      file.syncSync();
    }
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function writeBeside(path: string, data: Uint8Array | string): Promise<string> {
  const temporary = `${path}.${Deno.pid}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  try {
    using file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
  return temporary;
}

/** A rename is on disk only once its directory is. Not every system can open one: there we do without. */
async function syncDirectory(path: string): Promise<void> {
  try {
    using directory = await Deno.open(path, { read: true });
    await directory.sync();
  } catch { /* Windows */ }
}

function refuseOpen(path: string, info: Deno.FileInfo, remedy: string): void {
  if (Deno.build.os === "windows" || info.mode === null) return;
  const mode = info.mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw new PrivateFileError(
    `Cannot use ${path}: its mode is ${mode.toString(8).padStart(4, "0")}, open to other users. Close it: ${remedy}`,
  );
}
