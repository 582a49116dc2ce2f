import assert from "node:assert/strict";
import { COMMANDS } from "../../client/commands.ts";
import { parseCommandLine } from "../../client/config.ts";
import { UsageError } from "../../client/errors.ts";
import { formatPinnedAddress, parseServerAddress } from "../../client/network/server_address.ts";

function refused(args: string[], pattern: RegExp): void {
  assert.throws(() => parseCommandLine(args), (error) => error instanceof UsageError && pattern.test(error.message));
}

Deno.test("parseCommandLine() reads commands with options on either side", () => {
  const parsed = parseCommandLine(["--home", "/h", "send", "bob", "hi there", "--json"]);
  assert.equal(parsed.command, COMMANDS.send);
  assert.deepEqual(parsed.words, ["bob", "hi there"]);
  assert.equal(parsed.options.home, "/h");
  assert.equal(parsed.options.json, true);
  assert.equal(parsed.options.datagramBytes, undefined);
  assert.equal(parseCommandLine(["recv", "--datagram-bytes", "1400"]).options.datagramBytes, 1400);
});

Deno.test("parseCommandLine() drops one leading --, and keeps what follows a later one as text", () => {
  assert.deepEqual(parseCommandLine(["--", "send", "bob", "--", "--help"]).words, ["bob", "--help"]);
});

Deno.test("parseCommandLine() takes a host and a port as a chat, and says which of them is missing", () => {
  assert.equal(parseCommandLine(["example.org", "9000", "-u", "alice"]).command, COMMANDS.chat);
  assert.deepEqual(parseCommandLine(["example.org:9000"]).words, ["example.org:9000"]);
  assert.deepEqual(parseCommandLine(["[::1]:9000"]).words, ["[::1]:9000"]);
  assert.equal(parseCommandLine([]).command, COMMANDS.chat);
  refused(["example.org", "0"], /1 to 65535/);
  refused(["example.org", "65536"], /1 to 65535/);
  refused(["example.org"], /port is missing: fastchat example\.org PORT/);
  refused(["localhost", "nine"], /port is a number from 1 to 65535, not "nine"/);
  refused(["9000"], /host is missing.*fastchat HOST 9000/);
  refused(["example.org:0"], /1 to 65535/);
  refused(["chatter", "9000", "x"], /no command/);
  refused(["example.org", "9000", "bob"], /"bob" is one word too many/);
});

Deno.test("parseCommandLine() takes an address with a fingerprint as a chat, and none that is damaged", () => {
  const address = `chat.example.org:9000#SHA256:${"A".repeat(43)}`;
  const { command, words } = parseCommandLine([address]);
  assert.deepEqual([command.name, words], ["chat", [address]]);
  assert.equal(formatPinnedAddress(parseServerAddress(words[0]!)), address);
  for (const wrong of ["h:9000#", "h:9000#SHA256:AAA", "h#x"]) {
    assert.throws(() => parseCommandLine([wrong]), UsageError, wrong);
  }
});

Deno.test("parseCommandLine() answers a mistyped word with the one that was meant", () => {
  refused(["snd", "bob", "hi"], /did you mean "fastchat send"/);
  refused(["hisotry", "bob"], /did you mean "fastchat history"/);
  refused(["send", "bob", "hi", "--jsn"], /did you mean --json/);
});

Deno.test("parseCommandLine() answers help and version without dashes, too", () => {
  const all = parseCommandLine(["help"]), one = parseCommandLine(["help", "send"]);
  assert.deepEqual([all.isNamed, all.options.help], [false, true]);
  assert.deepEqual([one.isNamed, one.command.name, one.options.help], [true, "send", true]);
  refused(["help", "snd"], /did you mean "fastchat send"/);
  assert(parseCommandLine(["version"]).options.version);
});

Deno.test("parseCommandLine() refuses missing and surplus words, and options of other commands", () => {
  refused(["send", "bob"], /missing.*fastchat send/);
  refused(["recv", "bob"], /too many/);
  refused(["send", "bob", "hi", "--limit", "3"], /takes no --limit/);
  refused(["recv", "--wait", "soon"], /--wait takes a number/);
  refused(["history", "bob", "--limit", "1.5"], /whole number/);
  refused(["history", "bob", "--limit", "0"], /from 1/);
  for (const bytes of ["1199", "1453", "1300.5"]) {
    refused(["recv", "--datagram-bytes", bytes], /--datagram-bytes takes/);
  }
});
