import assert from "node:assert/strict";
import fc from "fast-check";
import { addressBytes } from "../../../shared/handshake/mod.ts";

const hex = (host: string) => addressBytes(host)?.toHex();

Deno.test("addressBytes() takes all of IPv4 and the first 64 bits of IPv6", () => {
  assert.equal(hex("192.0.2.7"), "04c0000207");
  assert.equal(hex("0.0.0.0"), "0400000000");
  assert.equal(hex("2001:db8:1:2:3:4:5:6"), "0620010db800010002");
  assert.equal(hex("2001:DB8:1:2::"), "0620010db800010002");
  assert.equal(hex("::1"), "060000000000000000");
  assert.equal(hex("::"), "060000000000000000");
  assert.equal(hex("fe80::1%eth0"), "06fe80000000000000");
  assert.equal(hex("64:ff9b::192.0.2.7"), "060064ff9b00000000");
});

Deno.test("addressBytes() folds IPv4-mapped IPv6 in all its spellings", () => {
  for (const host of ["::ffff:192.0.2.7", "::FFFF:c000:207", "0:0:0:0:0:ffff:192.0.2.7", "0000:0::ffff:c000:0207"]) {
    assert.equal(hex(host), "04c0000207", host);
  }
  assert.equal(hex("::fffe:c000:207"), "060000000000000000");
  assert.equal(hex("::192.0.2.7"), "060000000000000000", "IPv4-compatible is not mapped");
});

Deno.test("addressBytes() refuses what is no address", () => {
  const bad = [
    "",
    " ",
    "localhost",
    "192.0.2",
    "192.0.2.7.1",
    "192.0.2.256",
    "192.0.2.07",
    "0x7f.0.0.1",
    "192.0.2.7:80",
    "1.2.3.4%eth0",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "12345::",
    "g::",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "::1.2.3",
    "[::1]",
    "::1%",
    "fe80::1%a%b",
    ":1::",
    "1:",
    "-1.0.0.0",
    "1e1.0.0.0",
    "١.0.0.0",
  ];
  for (const host of bad) assert.equal(addressBytes(host), undefined, host);
});

Deno.test("addressBytes() gives one value for every spelling of one IPv6 address", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 }), (groups) => {
    const full = groups.map((group) => group.toString(16).padStart(4, "0")).join(":");
    const short = new URL(`http://[${full}]`).hostname.slice(1, -1);
    assert.equal(hex(short), hex(full));
    assert.equal(hex(full.toUpperCase()), hex(full));
    assert.equal(hex(full)?.length, hex(full)?.startsWith("04") ? 10 : 18);
  }));
});

Deno.test("addressBytes() never throws", () => {
  fc.assert(fc.property(fc.stringMatching(/^[0-9a-f:.%x]{0,30}$/), (host) => {
    const bytes = addressBytes(host);
    assert.ok(bytes === undefined || bytes.length === 5 || bytes.length === 9);
  }));
});
