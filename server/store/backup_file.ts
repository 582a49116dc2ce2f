/**
 * A backup as one file: the database as SQLite wrote it, so that SQLite's own tools open it too, and a tail that SQLite ignores.
 *
 *     database ‖ further parts (keys, where asked for) ‖ manifest (JSON) ‖ SHA-256 of the manifest <32> ‖ its length u32 ‖ "FCBACKUP"
 *
 * The manifest names every part with its length and SHA-256, so a byte that changed anywhere is found before anything is used.
 */
import { createHash } from "node:crypto";
import { sameBytes } from "./bytes.ts";

export interface BackupAbout {
  /** Of the program that made it. */
  readonly program: string;
  /** Migrations the database has seen. */
  readonly version: number;
  /** RFC 3339. */
  readonly madeAt: string;
  /** 32 hex digits; a database is of use only beside the keys of its own cluster. */
  readonly clusterId: string;
  /** Of the cluster's RSA key, as it is shown to people. */
  readonly fingerprint: string;
  /** Rows of every table. */
  readonly counts: Readonly<Record<string, number>>;
}

export interface BackupManifest extends BackupAbout {
  readonly format: 1;
  /** In the order in which they lie in the file; the database first. */
  readonly parts: readonly BackupPart[];
}

export interface BackupPart {
  /** `store.db`, or a file of DIR/keys. */
  readonly name: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** Not a backup, or one that has changed since it was made. */
export class BackupFileError extends Error {
  override readonly name = "BackupFileError";
}

/** Appends the tail to a copy of the database, and waits until all of it is on the disk. */
export async function finishBackup(
  path: string,
  about: BackupAbout,
  keys: ReadonlyMap<string, Uint8Array>,
): Promise<BackupManifest> {
  using file = await Deno.open(path, { read: true, write: true });
  const database = createHash("sha256");
  const { size } = await file.stat();
  await readThrough(file, size, (piece) => void database.update(piece));
  const parts: BackupPart[] = [{ name: DATABASE_PART, bytes: size, sha256: database.digest("hex") }];
  for (const [name, bytes] of keys) {
    await writeAll(file, bytes);
    parts.push({ name, bytes: bytes.length, sha256: sha256(bytes).toHex() });
  }
  const manifest: BackupManifest = { format: 1, ...about, parts };
  const text = new TextEncoder().encode(JSON.stringify(manifest));
  const footer = new Uint8Array(FOOTER_BYTES);
  footer.set(sha256(text));
  new DataView(footer.buffer).setUint32(32, text.length);
  footer.set(MAGIC, 36);
  await writeAll(file, text);
  await writeAll(file, footer);
  await file.sync();
  return manifest;
}

/** A backup that is being read. */
export class BackupFile implements Disposable {
  readonly manifest: BackupManifest;
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile, manifest: BackupManifest) {
    this.#file = file;
    this.manifest = manifest;
  }

  /** Reads the manifest. @throws BackupFileError, or what the system says of the file. */
  static async open(path: string): Promise<BackupFile> {
    const file = await Deno.open(path, { read: true });
    try {
      return new BackupFile(file, await readManifest(file, path));
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Copies a part while its bytes are compared with the manifest. @throws BackupFileError where they differ. */
  async copy(part: BackupPart, to: Deno.FsFile): Promise<void> {
    const at = this.manifest.parts.indexOf(part);
    const start = this.manifest.parts.slice(0, at).reduce((sum, { bytes }) => sum + bytes, 0);
    await this.#file.seek(start, Deno.SeekMode.Start);
    const hash = createHash("sha256");
    await readThrough(this.#file, part.bytes, async (piece) => {
      hash.update(piece);
      await writeAll(to, piece);
    });
    if (hash.digest("hex") !== part.sha256) {
      throw new BackupFileError(`The backup is damaged: ${part.name} in it is not what was written`);
    }
  }

  get database(): BackupPart {
    return this.manifest.parts[0]!;
  }

  get keys(): readonly BackupPart[] {
    return this.manifest.parts.slice(1);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

async function readManifest(file: Deno.FsFile, path: string): Promise<BackupManifest> {
  const { size, isFile } = await file.stat();
  const footer = new Uint8Array(FOOTER_BYTES);
  if (!isFile || size < FOOTER_BYTES) throw notOurs(path);
  await file.seek(size - FOOTER_BYTES, Deno.SeekMode.Start);
  await fill(file, footer);
  if (!sameBytes(footer.subarray(36), MAGIC)) throw notOurs(path);
  const length = new DataView(footer.buffer).getUint32(32), start = size - FOOTER_BYTES - length;
  if (length > MANIFEST_BYTES_MAX || start < 0) throw notOurs(path);
  const text = new Uint8Array(length);
  await file.seek(start, Deno.SeekMode.Start);
  await fill(file, text);
  if (!sameBytes(sha256(text), footer.subarray(0, 32))) {
    throw new BackupFileError(`${path} is damaged: its manifest is not what was written`);
  }
  const manifest = JSON.parse(new TextDecoder().decode(text)) as BackupManifest;
  if (manifest.format !== 1) {
    throw new BackupFileError(`${path} has backup format ${manifest.format} of a newer program, this one knows 1`);
  }
  if (!Array.isArray(manifest.parts)) throw notOurs(path);
  const names = manifest.parts.map(({ name }) => name);
  // The names become paths: nothing but what we write ourselves.
  const known = names[0] === DATABASE_PART && names.slice(1).every((name) => /^keys\/[a-z]+\.[a-z]+$/.test(name));
  if (!known || manifest.parts.reduce((sum, { bytes }) => sum + bytes, 0) !== start) {
    throw new BackupFileError(`${path} is damaged: its parts do not fill it`);
  }
  return manifest;
}

function notOurs(path: string): BackupFileError {
  return new BackupFileError(`${path} is not a backup, or its end is missing`);
}

/** @throws BackupFileError where the file ends before. */
async function readThrough(
  file: Deno.FsFile,
  bytes: number,
  take: (piece: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let left = bytes; left > 0;) {
    const count = await file.read(buffer.subarray(0, Math.min(left, PIECE_BYTES)));
    if (count === null) throw new BackupFileError("The file ended while it was read");
    await take(buffer.subarray(0, count));
    left -= count;
  }
}

async function fill(file: Deno.FsFile, buffer: Uint8Array): Promise<void> {
  let at = 0;
  await readThrough(file, buffer.length, (piece) => {
    buffer.set(piece, at);
    at += piece.length;
  });
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

export const DATABASE_PART = "store.db";
const MAGIC = new TextEncoder().encode("FCBACKUP");
const FOOTER_BYTES = 32 + 4 + 8;
const MANIFEST_BYTES_MAX = 1 << 20;
const PIECE_BYTES = 1 << 20;
