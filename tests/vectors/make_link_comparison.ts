/**
 * Writes link_comparison.json anew: `deno run -A tests/vectors/make_link_comparison.ts`. WebCrypto and BigInt, after docs/PROTOCOL.md
 * §18.1, not the code under test.
 */
import { TEST_CLUSTER } from "../keys.ts";

type Bytes = Uint8Array<ArrayBuffer>;
const ascii = (text: string) => [...text].map((char) => char.charCodeAt(0));
const label = (what: string) => ascii(`fastchat/link/2 ${what}`);

/** RFC 9000 §16, of what is below 2^14. */
function varint(value: number): number[] {
  return value < 64 ? [value] : [0x40 | value >> 8, value & 0xff];
}

async function sha256(...bytes: number[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
}

/** RFC 8410 §7. */
function privateKey(bytes: Uint8Array): Promise<CryptoKey> {
  const pkcs8 = new Uint8Array([...Uint8Array.fromHex("302e020100300506032b656e04220420"), ...bytes]);
  return crypto.subtle.importKey("pkcs8", pkcs8, "X25519", true, ["deriveBits"]);
}

async function publicKey(bytes: Uint8Array): Promise<Bytes> {
  const { x } = await crypto.subtle.exportKey("jwk", await privateKey(bytes));
  return Uint8Array.fromBase64(x!, { alphabet: "base64url" });
}

async function agree(own: Uint8Array, theirs: Bytes): Promise<Bytes> {
  const peer = await crypto.subtle.importKey("raw", theirs, "X25519", true, []);
  return new Uint8Array(
    await crypto.subtle.deriveBits({ name: "X25519", public: peer }, await privateKey(own), 256),
  );
}

/** HKDF whole: Extract and Expand at once, which is all that WebCrypto has. */
async function hkdf(salt: Bytes, inputKey: Bytes, what: string, length: number): Promise<Bytes> {
  const key = await crypto.subtle.importKey("raw", inputKey, "HKDF", false, ["deriveBits"]);
  const info = new Uint8Array(label(what));
  return new Uint8Array(
    await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, 8 * length),
  );
}

const cases = [
  { user: "alice", old: 1, new: 2, device: "00112233445566778899aabbccddeeff", envelopeBytes: 100 },
  { user: "alice", old: 1, new: 3, device: "00112233445566778899aabbccddeeff", envelopeBytes: 100 },
  { user: "a.b_c-z", old: 255, new: 128, device: "ff".repeat(16), envelopeBytes: 1 },
];
const vectors = [];
for (const { user, old, new: fresh, device, envelopeBytes } of cases) {
  const oldPrivate = new Uint8Array(32).fill(old), newPrivate = new Uint8Array(32).fill(fresh);
  const leafKey = new Uint8Array(32).fill(7), envelopeKey = new Uint8Array(envelopeBytes).fill(9);
  const oldOpening = [...TEST_CLUSTER, ...await publicKey(oldPrivate)];
  const newOpening = [
    ...await publicKey(newPrivate),
    ...Uint8Array.fromHex(device),
    ...leafKey,
    ...varint(envelopeBytes),
    ...envelopeKey,
  ];
  const oldCommitment = await sha256(...label("commitment old"), ...oldOpening);
  const newCommitment = await sha256(...label("commitment new"), ...newOpening);
  const transcript = await sha256(
    ...label("transcript "),
    ...varint(user.length),
    ...ascii(user),
    ...oldOpening,
    ...newOpening,
  );
  const shared = await agree(oldPrivate, await publicKey(newPrivate));
  const derive = async (what: string, length: number) => (await hkdf(transcript, shared, what, length)).toHex();
  vectors.push({
    user,
    clusterId: TEST_CLUSTER.toHex(),
    oldPrivate: oldPrivate.toHex(),
    newPrivate: newPrivate.toHex(),
    device,
    leafKey: leafKey.toHex(),
    envelopeKey: envelopeKey.toHex(),
    oldCommitment: oldCommitment.toHex(),
    newCommitment: newCommitment.toHex(),
    joining: (await sha256(...label("place new commitment "), ...oldCommitment)).toHex(),
    opening: (await sha256(...label("place old opening "), ...oldCommitment, ...newCommitment)).toHex(),
    digits: (BigInt("0x" + await derive("digits", 8)) % 1000000n).toString().padStart(6, "0"),
    newYes: await derive("new yes", 32),
    oldNo: await derive("old no", 32),
    key: await derive("key", 32),
    nonce: await derive("nonce", 12),
  });
}
await Deno.writeTextFile(
  new URL("link_comparison.json", import.meta.url),
  JSON.stringify({ vectors }, null, 2) + "\n",
);
