/**
 * What of an IP address counts as one place (SECURITY H6, H7): all of an IPv4 address, the first 64 bits of an IPv6 one,
 * since whoever has one address there has them all. Never the port: behind a NAT it changes.
 */

/**
 * 0x04 ‖ 4 bytes, or 0x06 ‖ 8 bytes; IPv4-mapped IPv6 counts as IPv4. `undefined` for anything that is not the text of an
 * address.
 *
 * @param host As a socket reports it; a zone (`%eth0`) is left out.
 */
export function addressBytes(host: string): Uint8Array | undefined {
  const ipv4 = parseIpv4(host);
  if (ipv4) return new Uint8Array([0x04, ...ipv4]);
  const groups = parseIpv6(host.replace(ZONE, ""));
  if (!groups) return undefined;
  const bytes = groups.flatMap((group) => [group >>> 8, group & 0xff]);
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  return new Uint8Array(isMapped ? [0x04, ...bytes.slice(12)] : [0x06, ...bytes.slice(0, 8)]);
}

function parseIpv4(text: string): number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => DECIMAL.test(part))) return undefined;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 0xff) ? bytes : undefined;
}

/** Eight groups of 16 bits (RFC 4291 §2.2). */
function parseIpv6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const isWhole = halves.length === 1;
  const head = parseGroups(halves[0]!, isWhole), tail = parseGroups(halves[1] ?? "", true);
  if (!head || !tail) return undefined;
  if (isWhole) return head.length === 8 ? head : undefined;
  const missing = 8 - head.length - tail.length;
  return missing >= 1 ? [...head, ...new Array<number>(missing).fill(0), ...tail] : undefined;
}

/** The groups on one side of `::`; where the address ends, the last two may be written as an IPv4 address. */
function parseGroups(text: string, isEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    const ipv4 = isEnd && index === parts.length - 1 ? parseIpv4(part) : undefined;
    if (ipv4) groups.push((ipv4[0]! << 8) | ipv4[1]!, (ipv4[2]! << 8) | ipv4[3]!);
    else if (HEX_GROUP.test(part)) groups.push(parseInt(part, 16));
    else return undefined;
  }
  return groups;
}

const ZONE = /%[^%]+$/;
/** No leading zeros: some parsers take those as octal. */
const DECIMAL = /^(0|[1-9][0-9]{0,2})$/;
const HEX_GROUP = /^[0-9a-fA-F]{1,4}$/;
