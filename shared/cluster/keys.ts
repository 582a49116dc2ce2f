/**
 * The secrets of one cluster, in DIR/keys: what makes a set of processes one service. Whoever copies this directory can be the
 * cluster; whoever loses it loses every login (SECURITY P4: the pepper is here so that it is not in the database).
 *
 * `cluster.pem` is a plain PKCS#8 file (`openssl pkey -in cluster.pem`), `secrets.json` holds the rest as hex. Both appear in
 * one step, so that a missing one always means loss, never an interrupted start.
 */
import { basename, dirname, join } from "node:path";
import { fingerprint, generateRsaPkcs8, spkiFromPkcs8, systemRandom } from "../crypto/mod.ts";
import { ensurePrivateDirectory, FileLock, readPrivateText, writePrivateFile } from "../host/mod.ts";
import { dataPaths } from "./paths.ts";

export interface ClusterKeys {
  /** 16 random bytes that name the cluster for ever. */
  readonly clusterId: Uint8Array;
  /** RSA-3072, DER: what an INITIAL's secret is encrypted to (PROTOCOL.md §2.3). */
  readonly privateKeyPkcs8: Uint8Array;
  readonly spki: Uint8Array;
  /** SHA-256 of `spki`, 32 bytes: what clients pin (H5). */
  readonly fingerprint: Uint8Array;
  /** Address tokens (§3), stateless resets (§5.4), salts of unknown names (§7.1), sealing of password hashes (P4). 32 bytes each. */
  readonly tokenKey: Uint8Array;
  readonly resetKey: Uint8Array;
  readonly saltKey: Uint8Array;
  readonly pepper: Uint8Array;
}

/** The keys are not there, or not whole. */
export class ClusterKeysError extends Error {
  override readonly name = "ClusterKeysError";
}

/**
 * Reads the cluster's keys; with `create` makes them first where there are none. Programs that start at once agree: one makes
 * them under a lock, the others wait and read.
 *
 * @throws ClusterKeysError, PrivateFileError
 */
export async function loadClusterKeys(dataDir: string, options: { create: boolean }): Promise<ClusterKeys> {
  const { keys } = dataPaths(dataDir);
  if (!await exists(keys) && options.create) {
    await Deno.mkdir(dataDir, { recursive: true, mode: 0o700 });
    using _lock = await FileLock.acquire(`${keys}.lock`);
    if (!await exists(keys)) await createKeys(keys);
  }
  return await readKeys(keys);
}

/** The files of DIR/keys that a cluster cannot be without, by their paths in DIR: for a backup that is to hold them. */
export async function readKeyFiles(dataDir: string): Promise<Map<string, Uint8Array>> {
  const directory = dataPaths(dataDir).keys, files = new Map<string, Uint8Array>();
  for (const name of [PEM_FILE, SECRETS_FILE]) {
    files.set(`${basename(directory)}/${name}`, new TextEncoder().encode(await readPart(directory, name)));
  }
  return files;
}

async function createKeys(directory: string): Promise<void> {
  const unfinished = `${directory}.new`;
  await Deno.remove(unfinished, { recursive: true }).catch(() => {});
  await ensurePrivateDirectory(unfinished);
  const secrets = Object.fromEntries(
    Object.entries(SECRET_BYTES).map(([name, length]) => [name, systemRandom.bytes(length).toHex()]),
  );
  await writePrivateFile(join(unfinished, PEM_FILE), toPem(await generateRsaPkcs8()));
  await writePrivateFile(join(unfinished, SECRETS_FILE), JSON.stringify({ format: 1, ...secrets }, null, 2) + "\n");
  await Deno.rename(unfinished, directory);
}

async function readKeys(directory: string): Promise<ClusterKeys> {
  const pem = await readPart(directory, PEM_FILE);
  const secrets = parseSecrets(directory, await readPart(directory, SECRETS_FILE));
  const privateKeyPkcs8 = fromPem(directory, pem);
  const spki = await publicHalf(directory, privateKeyPkcs8);
  return { ...secrets, privateKeyPkcs8, spki, fingerprint: fingerprint(spki) };
}

async function readPart(directory: string, name: string): Promise<string> {
  try {
    return await readPrivateText(join(directory, name));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    if (await exists(directory)) {
      throw new ClusterKeysError(`Cannot load the cluster's keys: ${join(directory, name)} is missing. Restore it`);
    }
    throw new ClusterKeysError(
      `Cannot load the cluster's keys: there are none in ${directory}. A balancer on --data ${
        dirname(directory)
      } makes them`,
    );
  }
}

function parseSecrets(directory: string, text: string): Record<keyof typeof SECRET_BYTES, Uint8Array> {
  const secrets: Record<string, Uint8Array> = {};
  try {
    const value = JSON.parse(text);
    for (const [name, length] of Object.entries(SECRET_BYTES)) {
      const bytes = Uint8Array.fromHex(value[name]);
      if (bytes.length !== length) throw new RangeError(`${name} is ${bytes.length} bytes, not ${length}`);
      secrets[name] = bytes;
    }
  } catch {
    // No cause: a parser's message may quote the secret.
    throw new ClusterKeysError(`Cannot load the cluster's keys: ${join(directory, SECRETS_FILE)} is damaged`);
  }
  return secrets as Record<keyof typeof SECRET_BYTES, Uint8Array>;
}

async function publicHalf(directory: string, pkcs8: Uint8Array): Promise<Uint8Array> {
  try {
    return await spkiFromPkcs8(pkcs8);
  } catch (cause) {
    throw new ClusterKeysError(`Cannot load the cluster's keys: ${join(directory, PEM_FILE)} is not an RSA key`, {
      cause,
    });
  }
}

function toPem(der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g)!;
  return `${PEM_BEGIN}\n${lines.join("\n")}\n${PEM_END}\n`;
}

function fromPem(directory: string, pem: string): Uint8Array {
  const begin = pem.indexOf(PEM_BEGIN), end = pem.indexOf(PEM_END);
  try {
    if (begin < 0 || end < begin) throw new SyntaxError("No PRIVATE KEY block");
    return Uint8Array.fromBase64(pem.slice(begin + PEM_BEGIN.length, end));
  } catch {
    throw new ClusterKeysError(`Cannot load the cluster's keys: ${join(directory, PEM_FILE)} is damaged`);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const PEM_FILE = "cluster.pem";
const SECRETS_FILE = "secrets.json";
const SECRET_BYTES = { clusterId: 16, tokenKey: 32, resetKey: 32, saltKey: 32, pepper: 32 } as const;
const PEM_BEGIN = "-----BEGIN PRIVATE KEY-----";
const PEM_END = "-----END PRIVATE KEY-----";
