/** Pure: a safety number as rows of text for people, the QR code beside it where there is room. */
import { formatSafetyNumber } from "../../shared/crypto/mod.ts";
import type { PeerTrust, Safety } from "../trust/people.ts";
import { trustMark } from "./marks.ts";
import { type QrModules, qrRows } from "./qr.ts";
import { textWidth } from "./width.ts";
import { wrap } from "./wrap.ts";

/** What is compared, and what is known of it so far. */
export interface SafetyScreen {
  readonly self: string;
  /** Fingerprint of the own identity, `SHA256:…`. */
  readonly own: string;
  readonly safety: Safety;
  readonly trust: PeerTrust;
  /** Absent where no code is wanted. */
  readonly qr?: QrModules;
}

export interface Space {
  readonly columns: number;
  /** Rows that there are; without it as many as it takes. */
  readonly rows?: number;
  /** Whether the QR code may say black on white. */
  readonly colour: boolean;
}

/**
 * The rows, none wider than the space.
 *
 * @param below What to do next: the words at the end.
 */
export function safetyRows(screen: SafetyScreen, { columns, rows = Infinity, colour }: Space, below: string): string[] {
  const size = screen.qr?.length ?? 0;
  const hasRoom = size > 0 && columns - size - GAP >= TEXT_COLUMNS_MIN && rows >= Math.ceil(size / 2);
  if (!hasRoom) return safetyText(screen, columns, below);
  const code = qrRows(screen.qr!, colour);
  // Long names take rows; the fingerprints are in the number, so they go first.
  const text = [true, false].map((keys) => ["", ...safetyText(screen, columns - size - GAP, below, keys)])
    .find((text) => text.length <= rows);
  if (text === undefined) return safetyText(screen, columns, below);
  const count = Math.max(code.length, text.length);
  return Array.from(
    { length: count },
    (_, i) => `${code[i] ?? " ".repeat(size)}${" ".repeat(GAP)}${text[i] ?? ""}`.trimEnd(),
  );
}

function safetyText(
  { self, own, safety, trust }: SafetyScreen,
  columns: number,
  below: string,
  withKeys = true,
): string[] {
  const [first, second] = self < safety.name ? [self, safety.name] : [safety.name, self];
  const title = `Safety number of ${first} and ${second}`;
  const key = trust.offered ?? trust.fingerprint ?? "";
  return [
    ...lines(title, columns),
    "",
    ...numberRows(safety.number, columns),
    "",
    ...lines(
      `${safety.name}: ${trustMark(trust.trust)}${trust.wasVerified ? WAS_VERIFIED[trust.trust] ?? "" : ""}`,
      columns,
    ),
    ...(withKeys ? fingerprintRows(trust.trust === "changed" ? "new key" : "key", key, columns) : []),
    ...(withKeys ? fingerprintRows("your key", own, columns) : []),
    "",
    ...lines(below, columns),
  ];
}

/** Groups of five, as many in a row as make rows of one length. */
function numberRows(number: string, columns: number): string[] {
  const groups = formatSafetyNumber(number).split(" ");
  const inRow = [6, 4, 3, 2, 1].find((count) => count * 6 + 1 <= columns) ?? 1;
  const rows: string[] = [];
  for (let at = 0; at < groups.length; at += inRow) rows.push(`  ${groups.slice(at, at + inRow).join(" ")}`);
  return rows;
}

/** A fingerprint has 50 characters: it goes to a row of its own, or two, where it must. */
function fingerprintRows(label: string, fingerprint: string, columns: number): string[] {
  const beside = `${label.padEnd(9)}${fingerprint}`;
  if (textWidth(beside) <= columns) return [beside];
  const rows = [label];
  for (let at = 0; at < fingerprint.length; at += columns - 2) {
    rows.push(`  ${fingerprint.slice(at, at + columns - 2)}`);
  }
  return rows;
}

function lines(text: string, columns: number): string[] {
  return wrap(text, columns, 0).split("\n");
}

const WAS_VERIFIED: Partial<Record<PeerTrust["trust"], string>> = {
  unverified: " (an earlier key of theirs was)",
  changed: " since you verified it",
};
/** Columns between code and text. */
const GAP = 2;
/** Four groups of five, and an indent: below that the number is no longer easy to read. */
const TEXT_COLUMNS_MIN = 27;
