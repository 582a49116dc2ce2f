/**
 * Seals what the database keeps about passwords under a key that is not in it (SECURITY P4): a stolen database alone gives
 * nothing to guess against.
 *
 * `version u8 = 1 ‖ nonce <12> ‖ ciphertext and tag`; the key follows from the pepper and the purpose, and the purpose and
 * the user's name are associated data, so that no row can take another's place.
 */
import { assert } from "../shared/assert.ts";
import { aeadOpen, aeadSeal, hkdfExpand, systemRandom } from "../shared/crypto/mod.ts";
import type { RandomSource } from "../shared/primitives.ts";
import type { UserName } from "../shared/protocol/mod.ts";

export type PepperPurpose = "password" | "backup" | "recovery" | "recovery-backup" | "archive";

/** A row that does not open: the pepper is not the one it was sealed with, or the database was changed. */
export class PepperError extends Error {
  override readonly name = "PepperError";
}

export class Pepper {
  readonly #keys: Readonly<Record<PepperPurpose, Uint8Array>>;
  readonly #random: RandomSource;

  /** @param pepper 32 bytes from DIR/keys. */
  constructor(pepper: Uint8Array, random: RandomSource = systemRandom) {
    assert(pepper.length === 32, `A pepper is 32 bytes, not ${pepper.length}`);
    this.#keys = {
      password: hkdfExpand(pepper, "fastchat/pepper/1 password", 32),
      backup: hkdfExpand(pepper, "fastchat/pepper/1 backup", 32),
      recovery: hkdfExpand(pepper, "fastchat/pepper/1 recovery", 32),
      "recovery-backup": hkdfExpand(pepper, "fastchat/pepper/1 recovery-backup", 32),
      archive: hkdfExpand(pepper, "fastchat/pepper/1 archive", 32),
    };
    this.#random = random;
  }

  seal(purpose: PepperPurpose, name: UserName, plaintext: Uint8Array): Uint8Array {
    const nonce = this.#random.bytes(NONCE_BYTES);
    const sealed = aeadSeal({ key: this.#keys[purpose], nonce, aad: aad(purpose, name), plaintext });
    const row = new Uint8Array(1 + NONCE_BYTES + sealed.length);
    row[0] = VERSION;
    row.set(nonce, 1);
    row.set(sealed, 1 + NONCE_BYTES);
    return row;
  }

  /** @throws PepperError */
  open(purpose: PepperPurpose, name: UserName, row: Uint8Array): Uint8Array {
    const nonce = row.subarray(1, 1 + NONCE_BYTES);
    const plaintext = row[0] !== VERSION || nonce.length < NONCE_BYTES ? undefined : aeadOpen({
      key: this.#keys[purpose],
      nonce,
      aad: aad(purpose, name),
      sealed: row.subarray(1 + NONCE_BYTES),
    });
    if (plaintext === undefined) {
      throw new PepperError(`Cannot open the ${purpose} of ${name}: wrong pepper or changed row`);
    }
    return plaintext;
  }
}

function aad(purpose: PepperPurpose, name: UserName): Uint8Array {
  return TEXT_ENCODER.encode(`fastchat/pepper/1 ${purpose} ${name}`);
}

const VERSION = 1;
const NONCE_BYTES = 12;
const TEXT_ENCODER = new TextEncoder();
