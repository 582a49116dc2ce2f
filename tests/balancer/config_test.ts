import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import { type BalancerConfig, type Command, HELP, parseCommand } from "../../balancer/config.ts";
import { UsageError } from "../../shared/host/mod.ts";

Deno.test("parseCommand() reads a run with its defaults", () => {
  assert.deepEqual(run("4 9000"), {
    servers: 4,
    port: 9000,
    host: "0.0.0.0",
    advertise: "",
    dataDir: undefined,
    strategy: "two-choices",
    hungAfterS: 5,
    serverArguments: [],
  });
});

Deno.test("parseCommand() reads every option, in any place and either form, and drops one leading --", () => {
  const config = run(
    "-- --host ::1 128 --advertise=chat.example.org 0 --data some/dir --strategy random --registration closed --hung-after 9",
  );
  assert.deepEqual(config, {
    servers: 128,
    port: 0,
    host: "::1",
    advertise: "chat.example.org",
    dataDir: resolve("some/dir"),
    strategy: "random",
    hungAfterS: 9,
    serverArguments: ["--registration", "closed"],
  });
  assert.equal(run("1 1 --host [::]").host, "::");
});

Deno.test("parseCommand() says what is wrong with a number, and the range", () => {
  for (const servers of ["0", "129", "4.5", "1e1", "999999999999", "-1"]) {
    assert.throws(() => run(`${servers} 9000`), /UsageError: .*(?:1\.\.128|-1)/, servers);
  }
  for (const port of ["65536", "9000x", "0x10", "-5", "1e9"]) {
    assert.throws(() => run(`4 ${port}`), /UsageError: .*(?:1\.\.65535|-5)/, port);
  }
  assert.throws(() => run("4"), /port is missing/);
  assert.throws(() => run("statsu"), /'statsu' is no command; did you mean 'status'\?/);
  assert.throws(() => run("frobnicate"), /is no command: .*stop, status, backup, restore, check/);
  assert.throws(() => run("4 9000 9001"), /'9001' is one word too many/);
});

Deno.test("parseCommand() refuses options that it does not know, or that make no sense there", () => {
  for (
    const words of [
      "4 9000 --colour red",
      "4 9000 --json",
      "4 9000 --strategy best",
      "4 9000 --hung-after 1",
      "4 9000 --data",
      "4 9000 --host",
      "stop --json",
      "stop now",
      "status --port 1",
      "4 9000 --advertise é",
    ]
  ) assert.throws(() => parseCommand(words.split(" ")), UsageError, words);
});

Deno.test("parseCommand() judges what it hands on to servers, before any is started", () => {
  assert.throws(() => run("4 9000 --retention-days x"), /--retention-days takes a number from 0 to 36500, not 'x'/);
  assert.throws(() => run("4 9000 --registration maybe"), /--registration takes open or closed/);
  assert.throws(() => run("4 9000 --retention-dayz 3"), /did you mean --retention-days\?/);
  assert.deepEqual(run("4 9000 --retention-days 30").serverArguments, ["--retention-days", "30"]);
});

Deno.test("parseCommand() reads the other commands", () => {
  const cases: [string, Command][] = [
    ["stop", { type: "stop", dataDir: undefined }],
    ["stop --data /d", { type: "stop", dataDir: join("/d") }],
    ["status --json", { type: "status", dataDir: undefined, json: true }],
    ["--help", { type: "help", asked: true }],
    ["help", { type: "help", asked: true }],
    ["4 9000 -h", { type: "help", asked: true }],
    ["", { type: "help", asked: false }],
    ["--version", { type: "version" }],
  ];
  for (const [words, command] of cases) {
    assert.deepEqual(parseCommand(words.split(" ").filter(Boolean)), command, words);
  }
});

Deno.test("HELP names every option and fits a screen", () => {
  for (const name of ["--host", "--advertise", "--data", "--strategy", "--registration", "--json", "stop", "status"]) {
    assert.ok(HELP.includes(name), name);
  }
  for (const line of HELP.split("\n")) assert.ok(line.length <= 128, line);
});

function run(words: string): BalancerConfig {
  const command = parseCommand(words.split(" "));
  assert.equal(command.type, "run");
  return (command as Extract<Command, { type: "run" }>).config;
}
