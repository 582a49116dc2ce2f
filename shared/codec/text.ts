/**
 * Ids and names between text and bytes. For a handful of characters the platform's calls cost more than the work: `fromHex` of an
 * id and `encode` of a name 0.8 µs each, `decode` 0.2, where these take a tenth; and a message has five of them at every hop.
 */
import { DecodeError } from "./error.ts";

/** The bytes that hex digits, of either case, stand for. @throws SyntaxError, as `Uint8Array.fromHex` does. */
export function fromHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length >>> 1);
  writeHex(text, bytes, 0);
  return bytes;
}

/** {@linkcode fromHex} into memory that has room for it. */
export function writeHex(text: string, into: Uint8Array, at: number): void {
  let wrong = text.length & 1;
  for (let i = 0; i + 1 < text.length; i += 2) {
    const high = DIGITS[text.charCodeAt(i) & 0xff]!, low = DIGITS[text.charCodeAt(i + 1) & 0xff]!;
    // A wide character may look like a digit in its low byte.
    wrong |= (high | low) & NO_DIGIT | (text.charCodeAt(i) | text.charCodeAt(i + 1)) & ~0xff;
    into[at++] = high << 4 | low;
  }
  if (wrong !== 0) throw new SyntaxError("Text is not of hex digits");
}

/** Characters of a short text that is all ASCII; `undefined` for any other. */
function readAscii(bytes: Uint8Array, at: number, count: number): string | undefined {
  if (count > ASCII_CHARS_MAX) return undefined;
  let all = 0;
  for (let i = at; i < at + count; i++) all |= bytes[i]!;
  // Not put together character by character: whoever looks at such a string first has it flattened.
  return all > 0x7f
    ? undefined
    : String.fromCharCode.apply(null, bytes.subarray(at, at + count) as unknown as number[]);
}

/** Bytes of a short text that is all ASCII, `false` (and nothing that counts) for any other. */
export function writeAscii(text: string, into: Uint8Array, at: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return false;
    into[at + i] = code;
  }
  return true;
}

/** @throws DecodeError where it is not UTF-8. */
export function readText(bytes: Uint8Array, at: number, count: number): string {
  const ascii = readAscii(bytes, at, count);
  if (ascii !== undefined) return ascii;
  try {
    return TEXT_DECODER.decode(bytes.subarray(at, at + count));
  } catch {
    throw new DecodeError("Text is not UTF-8");
  }
}

/** Longer texts are quicker with the platform's decoder. */
const ASCII_CHARS_MAX = 40;
const NO_DIGIT = 0x80;
const DIGITS = Uint8Array.from({ length: 256 }, (_, code) => {
  const digit = "0123456789abcdef".indexOf(String.fromCharCode(code).toLowerCase());
  return digit < 0 ? NO_DIGIT : digit;
});
/** `ignoreBOM` keeps a leading U+FEFF, so that text survives the round trip as it was. */
const TEXT_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
