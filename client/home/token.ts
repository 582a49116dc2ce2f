/**
 * Token files: what unlocks a home where nobody is there to type a password. One line,
 * `fastchat-token-1 <32 bytes in base64url>`; whoever reads it and the home is that person.
 */
import { systemRandom } from "../../shared/crypto/mod.ts";
import { PrivateFileError, readPrivateText } from "../../shared/host/mod.ts";
import { UsageError } from "../errors.ts";

export interface NewToken {
  /** 32 bytes. */
  readonly token: Uint8Array;
  /** A token file's content. */
  readonly text: string;
}

export function newToken(): NewToken {
  const token = systemRandom.bytes(TOKEN_BYTES);
  return { token, text: `${PREFIX} ${token.toBase64({ alphabet: "base64url", omitPadding: true })}\n` };
}

/** @returns 32 bytes. @throws UsageError */
export function parseToken(text: string): Uint8Array {
  const [prefix, secret, ...more] = text.trim().split(/\s+/);
  if (prefix === PREFIX && secret !== undefined && more.length === 0) {
    try {
      const token = Uint8Array.fromBase64(secret, { alphabet: "base64url" });
      if (token.length === TOKEN_BYTES) return token;
    } catch {
      // Said below.
    }
  }
  throw new UsageError("That is no token of fastchat: such a file has one line, which begins with fastchat-token-1");
}

/** The content of a token file. @throws UsageError where it is not there, or others may read it. */
export async function readTokenFile(path: string): Promise<string> {
  try {
    return await readPrivateText(path);
  } catch (error) {
    if (error instanceof PrivateFileError) throw new UsageError(error.message, { cause: error });
    throw new UsageError(`Cannot read the token file ${path}: ${(error as Error).message}`, { cause: error });
  }
}

const PREFIX = "fastchat-token-1";
const TOKEN_BYTES = 32;
