/**
 * Fixed people, devices and keys, read from tests/vectors/keys.json: making an RSA-3072 key takes up to seconds, and vectors
 * need the same ones each time. They protect nothing.
 */
import { Ed25519KeyPair, fingerprint, importOaepPrivate, importPssPrivate } from "../shared/crypto/mod.ts";
import { makeCertificate, spkiFromPkcs8 } from "../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../shared/protocol/mod.ts";

export interface TestDevice {
  readonly user: UserName;
  readonly id: DeviceId;
  readonly leaf: Ed25519KeyPair;
  readonly envelopePkcs8: Uint8Array;
  readonly envelopeKey: Uint8Array;
  readonly envelopePrivate: CryptoKey;
  readonly identity: TestIdentity;
  /** Valid in {@linkcode TEST_CLUSTER} from 2020 to 2040. */
  readonly certificate: Uint8Array;
}

export interface TestIdentity {
  readonly pkcs8: Uint8Array;
  readonly spki: Uint8Array;
  readonly fingerprint: Uint8Array;
  readonly privateKey: CryptoKey;
}

export interface TestKeys {
  readonly aliceIdentity: TestIdentity;
  readonly bobIdentity: TestIdentity;
  /** Alice's two devices and Bob's one. */
  readonly alice: TestDevice;
  readonly alice2: TestDevice;
  readonly bob: TestDevice;
}

export const TEST_CLUSTER: Uint8Array = Uint8Array.fromHex("c1c2c3c4c5c6c7c8c9cacbcccdcecfc0");
export const TEST_NOT_BEFORE_MS = Date.UTC(2020, 0, 1);
export const TEST_NOT_AFTER_MS = Date.UTC(2040, 0, 1);
/** Within the certificates' validity. */
export const TEST_NOW_MS = Date.UTC(2030, 0, 1);

/** The same keys for every caller in a process. */
export function testKeys(): Promise<TestKeys> {
  return loaded ??= load();
}

let loaded: Promise<TestKeys> | undefined;

interface KeysFile {
  readonly identities: Record<string, string>;
  readonly devices: Record<string, { id: string; leafSeed: string; envelopePkcs8: string }>;
}

async function load(): Promise<TestKeys> {
  const path = new URL("./vectors/keys.json", import.meta.url);
  const file = JSON.parse(await Deno.readTextFile(path)) as KeysFile;
  const aliceIdentity = await loadIdentity(file, "alice"), bobIdentity = await loadIdentity(file, "bob");
  return {
    aliceIdentity,
    bobIdentity,
    alice: await loadDevice(file, "alice1", "alice", aliceIdentity),
    alice2: await loadDevice(file, "alice2", "alice", aliceIdentity),
    bob: await loadDevice(file, "bob1", "bob", bobIdentity),
  };
}

async function loadIdentity(file: KeysFile, name: string): Promise<TestIdentity> {
  const pkcs8 = Uint8Array.fromHex(file.identities[name]!);
  const spki = await spkiFromPkcs8(pkcs8);
  return { pkcs8, spki, fingerprint: fingerprint(spki), privateKey: await importPssPrivate(pkcs8) };
}

async function loadDevice(file: KeysFile, key: string, user: string, identity: TestIdentity): Promise<TestDevice> {
  const { id, leafSeed, envelopePkcs8: envelopeHex } = file.devices[key]!;
  const leaf = Ed25519KeyPair.fromSeed(Uint8Array.fromHex(leafSeed));
  const envelopePkcs8 = Uint8Array.fromHex(envelopeHex);
  const envelopeKey = await spkiFromPkcs8(envelopePkcs8);
  const certificate = await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: user as UserName,
    device: id as DeviceId,
    leafKey: leaf.publicKey,
    envelopeKey,
    identityKey: identity.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOT_AFTER_MS,
    serial: 1,
  }, identity.privateKey);
  return {
    user: user as UserName,
    id: id as DeviceId,
    leaf,
    envelopePkcs8,
    envelopeKey,
    envelopePrivate: await importOaepPrivate(envelopePkcs8),
    identity,
    certificate,
  };
}
