/** QR codes as rows of half blocks: two modules in each character, so that they are square and 45 of them fit 24 rows. */
import encodeQr from "qr";

/** Dark modules of a code with its quiet zone, by row. */
export type QrModules = readonly (readonly boolean[])[];

/**
 * A code at the lowest level of correction, which is the smallest: a screen has no scratches. The quiet zone of four modules is
 * part of it.
 *
 * @param text Of QR's alphanumeric characters: `0-9 A-Z space $ % * + - . / :`.
 */
export function qrModules(text: string): QrModules {
  return encodeQr(text, "raw", { ecc: "low", encoding: "alphanumeric", border: QUIET });
}

/**
 * The code as rows of characters, each as wide as the code has modules.
 *
 * @param colour Whether to say black on white. Without it light modules are drawn and dark ones left out: right on a dark
 * terminal, and most scanners take the negative of a light one too.
 */
export function qrRows(modules: QrModules, colour: boolean): string[] {
  const rows: string[] = [];
  for (let y = 0; y < modules.length; y += 2) {
    const row = modules[y]!.map((isDark, x) => {
      // An odd number of rows ends half-way: what is below is quiet zone still.
      const isDarkBelow = modules[y + 1]?.[x] ?? false;
      return colour ? glyph(isDark, isDarkBelow) : glyph(!isDark, !isDarkBelow);
    }).join("");
    rows.push(colour ? `${BLACK_ON_WHITE}${row}${RESET}` : row);
  }
  return rows;
}

function glyph(upper: boolean, lower: boolean): string {
  return upper ? lower ? "█" : "▀" : lower ? "▄" : " ";
}

const QUIET = 4;
/** Of the 256 colours: the first sixteen are whatever the terminal's theme makes of them. */
const BLACK_ON_WHITE = "\x1b[38;5;16;48;5;231m";
const RESET = "\x1b[0m";
