/**
 * What seals a home's secrets on this disk (SECURITY P11): texts, bodies, tickets' secrets, private keys, groups' states.
 *
 * Whoever writes a secret to the database seals it here and names the place in `context`: table, column and what makes the row
 * unique, as in `messages.text 0a…0a 7`. Then no sealed value can be put in another's place by whoever can write to the file,
 * though an older one can be put back in its own.
 */
import { openRow, ROW_SEAL_BYTES, sealRow } from "../../shared/crypto/mod.ts";
import { assert } from "../../shared/assert.ts";
import { FastChatError, LockedError } from "../errors.ts";

/** Synchronous, so that it may be used inside a transaction; some 30 µs for a text. */
export interface Vault {
  /**
   * @param plain Borrowed until the call returns.
   * @returns {@linkcode SEAL_BYTES} more, different every time.
   * @throws LockedError while nobody has unlocked the home.
   */
  seal(plain: Uint8Array, context: string): Uint8Array;

  /** @throws VaultError where it was not sealed by this home for this place. @throws LockedError */
  open(sealed: Uint8Array, context: string): Uint8Array;
}

/** Something in the home's database is not what was written there: a damaged disk, or somebody's hand. */
export class VaultError extends FastChatError {
  override readonly name = "VaultError";
}

/** A vault of one key. */
export class KeyVault implements Vault {
  readonly #key: Uint8Array;

  /** @param key 32 bytes, copied. */
  constructor(key: Uint8Array) {
    assert(key.length === 32, `A vault's key is ${key.length} bytes, not 32`);
    this.#key = new Uint8Array(key);
  }

  seal(plain: Uint8Array, context: string): Uint8Array {
    return sealRow({ key: this.#key, context, plaintext: plain });
  }

  open(sealed: Uint8Array, context: string): Uint8Array {
    const plain = openRow({ key: this.#key, context, sealed });
    if (plain === undefined) throw new VaultError(`Cannot open ${context}: this home's database is damaged there`);
    return plain;
  }
}

/** A vault that nobody has unlocked. */
export const LOCKED_VAULT: Vault = {
  seal: () => {
    throw new LockedError();
  },
  open: () => {
    throw new LockedError();
  },
};

/** A text, for a BLOB column. */
export function sealText(vault: Vault, text: string, context: string): Uint8Array {
  return vault.seal(TEXT_ENCODER.encode(text), context);
}

/** What {@linkcode sealText} made. @throws VaultError, LockedError */
export function openText(vault: Vault, sealed: Uint8Array, context: string): string {
  return TEXT_DECODER.decode(vault.open(sealed, context));
}

/** How much longer a sealed value is. */
export const SEAL_BYTES = ROW_SEAL_BYTES;
const TEXT_ENCODER = new TextEncoder();
const TEXT_DECODER = new TextDecoder("utf-8", { ignoreBOM: true });
