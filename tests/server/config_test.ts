import assert from "node:assert/strict";
import { resolve } from "node:path";
import { HELP, parseCommand, type ServerConfig } from "../../server/config.ts";
import { UsageError } from "../../shared/host/mod.ts";

function config(args: readonly string[], env?: (name: string) => string | undefined): ServerConfig {
  const command = parseCommand(args, env);
  assert(command.type === "run");
  return command.config;
}

Deno.test("parseCommand() has a default for everything but --data", () => {
  const parsed = config(["--data", "some/where"]);
  assert.equal(parsed.dataDir, resolve("some/where"));
  assert.deepEqual(
    [parsed.host, parsed.port, parsed.number, parsed.advertise, parsed.registration, parsed.smoke],
    ["0.0.0.0", 0, undefined, "", "open", false],
  );
  assert.deepEqual(parsed.throttles, {
    signUpRate: 20,
    logInRate: 50,
    burst: 300,
    wrongPasswordsFree: 5,
    wrongPasswordsFreePerAccount: 100,
  });
  assert.deepEqual([parsed.passwordWorkers, parsed.sessionDays, parsed.scryptLog2N], [2, 30, 17]);
  assert.equal(parsed.datagramBytes, 1200);
});

Deno.test("parseCommand() takes what is given, and drops the separator of deno task", () => {
  const words =
    "--data d --port 9001 --host [::1] --number 3 --advertise chat.example.org --registration closed --smoke";
  const parsed = config(["--", ...words.split(" "), "--login-rate=7", "--datagram-bytes", "1452"]);
  assert.deepEqual(
    [parsed.port, parsed.host, parsed.number, parsed.advertise, parsed.registration, parsed.smoke],
    [9001, "::1", 3, "chat.example.org", "closed", true],
  );
  assert.deepEqual([parsed.throttles.logInRate, parsed.datagramBytes], [7, 1452]);
});

Deno.test("parseCommand() says what was wanted", () => {
  const wrong: [string, RegExp][] = [
    ["", /--data DIR/],
    ["--data", /--data/],
    ["--data d --port x", /--port takes a number from 0 to 65535, not 'x'/],
    ["--data d --port 65536", /65536/],
    ["--data d --port -1", /-1/],
    ["--data d --number 128", /--number takes a number from 0 to 127/],
    ["--data d --registration maybe", /--registration takes open or closed, not 'maybe'/],
    ["--data d --log-level loud", /debug/],
    ["--data d --nonsense", /--nonsense/],
    ["--data d 9001", /'9001' is one word too many/],
    ["--data d --session-days 0", /1 to 3650/],
    ["--data d --retention-days -1", /-1/],
    ["--data d --retention-mib 1g", /--retention-mib takes a number from 0/],
    ["--data d --datagram-bytes 1500", /1200 to 1452/],
  ];
  for (const [line, reason] of wrong) {
    const args = line === "" ? [] : line.split(" ");
    assert.throws(() => parseCommand(args), (error) => error instanceof UsageError && reason.test(error.message), line);
  }
});

Deno.test("parseCommand() lowers scrypt's floor for the test-only setting alone", () => {
  const env = (value: string) => (name: string) => name === "FASTCHAT_TEST_ONLY_SCRYPT_LOG2N" ? value : undefined;
  assert.equal(config(["--data", "d"], env("10")).scryptLog2N, 10);
  assert.equal(config(["--data", "d"], env("")).scryptLog2N, 17);
  for (const value of ["x", "0", "40", "-3"]) assert.throws(() => config(["--data", "d"], env(value)), UsageError);
});

Deno.test("--help names every option with its default", () => {
  assert.equal(parseCommand(["--help"]).type, "help");
  assert.equal(parseCommand(["-V"]).type, "version");
  const known = Object.keys(config(["--data", "d"]));
  assert(known.length > 10);
  const options = [...HELP.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(([, name]) => name!);
  for (const option of options) {
    if (option === "--help" || option === "--version") continue;
    const takesNothing = option === "--smoke";
    assert.doesNotThrow(() => parseOption(option, takesNothing), option);
  }
});

/** Any complaint may only be about the value. */
function parseOption(option: string, takesNothing: boolean): void {
  try {
    parseCommand(takesNothing ? [option, "--data", "d"] : [option, "nonsense", "--data", "d"]);
  } catch (error) {
    if (!(error instanceof UsageError) || /Unknown option/.test(error.message)) throw error;
  }
}
