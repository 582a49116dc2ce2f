/**
 * How two processes prove to each other over loopback TCP that both can read a key file (SECURITY P11).
 *
 * Any user of the machine can connect to a loopback port, or take one that a dead process left behind; only the owner of
 * the directory can read the key. Before the first frame:
 *
 *     client -> server   nonce <32>
 *     server -> client   nonce <32> ‖ HMAC(key, "fastchat/local/1 server" ‖ context ‖ both nonces) <32>
 *     client -> server   HMAC(key, "fastchat/local/1 client" ‖ context ‖ both nonces) <32>
 *
 * `context` is the port and the socket's file name, so a proof for one socket cannot be passed on to another.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

/** The other end did not prove the key in time, or proved it wrongly. */
export class LocalProofError extends Error {
  override readonly name = "LocalProofError";
}

/** The listening end. @param key 32 bytes. @throws LocalProofError; the caller closes the connection. */
export async function proveAsServer(conn: Deno.Conn, key: Uint8Array, context: string): Promise<void> {
  const clientNonce = await readExactly(conn, NONCE_BYTES);
  const serverNonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const proof = mac(key, "server", context, clientNonce, serverNonce);
  await writeAll(conn, new Uint8Array([...serverNonce, ...proof]));
  const answer = await readExactly(conn, MAC_BYTES);
  if (!timingSafeEqual(answer, mac(key, "client", context, clientNonce, serverNonce))) {
    throw new LocalProofError("Cannot accept a local connection: its proof of the key is wrong");
  }
}

/** The connecting end. @param key 32 bytes. @throws LocalProofError; the caller closes the connection. */
export async function proveAsClient(conn: Deno.Conn, key: Uint8Array, context: string): Promise<void> {
  const clientNonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  await writeAll(conn, clientNonce);
  const serverNonce = await readExactly(conn, NONCE_BYTES);
  const proof = await readExactly(conn, MAC_BYTES);
  if (!timingSafeEqual(proof, mac(key, "server", context, clientNonce, serverNonce))) {
    throw new LocalProofError("Cannot trust a local server: its proof of the key is wrong");
  }
  await writeAll(conn, mac(key, "client", context, clientNonce, serverNonce));
}

function mac(key: Uint8Array, side: "client" | "server", context: string, ...nonces: Uint8Array[]): Uint8Array {
  const hmac = createHmac("sha256", key).update(`fastchat/local/1 ${side}`).update(`${context}\n`);
  for (const nonce of nonces) hmac.update(nonce);
  return new Uint8Array(hmac.digest());
}

async function readExactly(conn: Deno.Conn, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await conn.read(bytes.subarray(at));
    if (count === null) throw new LocalProofError("Cannot prove a local connection: the other end closed it");
    at += count;
  }
  return bytes;
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

const NONCE_BYTES = 32;
const MAC_BYTES = 32;
