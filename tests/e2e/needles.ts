/** Looks for secrets in recorded bytes, in every form in which they might be carried or written down. */
import { Buffer } from "node:buffer";
import { join } from "node:path";

export class Needles {
  readonly #forms: { readonly what: string; readonly bytes: Buffer }[] = [];

  /** A text: in UTF-8 and UTF-16, and its UTF-8 in hex and base64. */
  text(what: string, text: string): this {
    const little = Buffer.from(text, "utf16le");
    this.#add(`${what} in UTF-16LE`, little);
    this.#add(`${what} in UTF-16BE`, Buffer.from(little).swap16());
    return this.bytes(what, new TextEncoder().encode(text));
  }

  /** Bytes: as they are, in hex, and in base64 of both alphabets wherever they begin in the encoded whole. */
  bytes(what: string, bytes: Uint8Array): this {
    this.#add(what, bytes);
    this.#add(`${what} in hex`, ascii(bytes.toHex()));
    this.#add(`${what} in HEX`, ascii(bytes.toHex().toUpperCase()));
    for (let offset = 0; offset < 3; offset++) {
      const shifted = new Uint8Array(offset + bytes.length);
      shifted.set(bytes, offset);
      // Characters that also depend on what stands before or behind are left out.
      const first = [0, 2, 3][offset]!, last = Math.floor(shifted.length * 8 / 6);
      for (const alphabet of ["base64", "base64url"] as const) {
        const encoded = shifted.toBase64({ alphabet, omitPadding: true }).slice(first, last);
        this.#add(`${what} in ${alphabet} at ${offset}`, ascii(encoded));
      }
    }
    return this;
  }

  /** What is found, in words; empty where nothing is. */
  findIn(haystack: Uint8Array): string[] {
    const buffer = Buffer.from(haystack.buffer, haystack.byteOffset, haystack.byteLength);
    return this.#forms.filter(({ bytes }) => buffer.includes(bytes)).map(({ what }) => what);
  }

  /** Every form, to check that {@linkcode findIn} finds it. */
  get forms(): readonly { readonly what: string; readonly bytes: Uint8Array }[] {
    return this.#forms;
  }

  #add(what: string, bytes: Uint8Array): void {
    if (bytes.length < FORM_BYTES_MIN) throw new RangeError(`${what} is too short to be told from chance`);
    this.#forms.push({ what, bytes: Buffer.from(bytes) });
  }
}

/** Every regular file below a directory. */
export function readTree(directory: string): { readonly path: string; readonly bytes: Uint8Array }[] {
  return [...Deno.readDirSync(directory)].flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory) return readTree(path);
    if (!entry.isFile) return [];
    try {
      return [{ path, bytes: Deno.readFileSync(path) }];
    } catch (error) {
      // A program at work may have put another file in its place meanwhile.
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  });
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

const FORM_BYTES_MIN = 8;
