/** A phone in front of the screen: reads a QR code from rows of half blocks, light modules drawn. */
import decodeQr from "qr/decode.js";

/** @param rows Of one code with its quiet zone, and nothing else. @throws Where there is none that can be read. */
export function scan(rows: readonly string[]): string {
  const light = rows.flatMap((row) => {
    const glyphs = [...row];
    return [glyphs.map((glyph) => "█▀".includes(glyph)), glyphs.map((glyph) => "█▄".includes(glyph))];
  });
  const width = Math.max(...light.map((row) => row.length)) * SCALE, height = light.length * SCALE;
  const data = new Uint8Array(width * height * 4).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!(light[Math.floor(y / SCALE)]![Math.floor(x / SCALE)] ?? false)) {
        data.fill(0, (y * width + x) * 4, (y * width + x) * 4 + 3);
      }
    }
  }
  return decodeQr({ width, height, data });
}

/** Pixels of a module. */
const SCALE = 4;
