/** What a safety number's QR code holds (docs/PROTOCOL.md §19): names and digits in capitals, so that the code stays small. */
import { parseUserName, type UserName } from "../../shared/protocol/mod.ts";

/** The number of two people as it is scanned. */
export interface ScannedNumber {
  /** In order of name. */
  readonly names: readonly [UserName, UserName];
  /** 60 digits. */
  readonly number: string;
}

/** @param number 60 digits. */
export function safetyUri(one: UserName, other: UserName, number: string): string {
  const [first, second] = one < other ? [one, other] : [other, one];
  return `${SCHEME}${capitals(first)}/${capitals(second)}/${number}`;
}

/** Reads what {@linkcode safetyUri} wrote. `undefined` where it is something else. */
export function parseSafetyUri(input: string): ScannedNumber | undefined {
  const text = input.trim().toUpperCase();
  if (!text.startsWith(SCHEME)) return undefined;
  const [first, second, number, ...more] = text.slice(SCHEME.length).split("/");
  const one = parseUserName(first!.replaceAll("$", "_")), other = parseUserName(second?.replaceAll("$", "_") ?? "");
  if (one === undefined || other === undefined || !(one < other) || more.length > 0) return undefined;
  return /^[0-9]{60}$/.test(number ?? "") ? { names: [one, other], number: number! } : undefined;
}

function capitals(name: UserName): string {
  return name.toUpperCase().replaceAll("_", "$");
}

const SCHEME = "FASTCHAT:VERIFY/1/";
