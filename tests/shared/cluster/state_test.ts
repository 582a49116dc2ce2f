import assert from "node:assert/strict";
import fc from "fast-check";
import { dataPaths, parseServerState, parseServerStatus, readServerState } from "../../../shared/cluster/mod.ts";
import { readBalancerState, readServerStates, removeServerState } from "../../../shared/cluster/mod.ts";
import { type ServerState, writeBalancerState, writeServerState } from "../../../shared/cluster/mod.ts";
import { readMigration, removeMigration, writeMigration } from "../../../shared/cluster/mod.ts";
import { inDirectory } from "../../temporary.ts";

const STATE: ServerState = {
  pid: 4711,
  number: 3,
  host: "0.0.0.0",
  advertise: "",
  port: 9004,
  version: "0.1.0",
  startedAt: "2026-01-01T00:00:00.000Z",
};

Deno.test("readServerStates() gives what was written, in order of number, and passes over what it cannot understand", () =>
  inDirectory(async (dataDir) => {
    assert.deepEqual(await readServerStates(dataDir), []);
    const { run } = dataPaths(dataDir);
    await Deno.mkdir(run);
    const states = [10, 3, 127].map((number) => ({ ...STATE, number }));
    for (const state of states) await writeServerState(dataDir, state);
    await Deno.writeTextFile(`${run}/server-4.json`, "{");
    // A copied file must not put one server under two numbers.
    await Deno.copyFile(`${run}/server-3.json`, `${run}/server-5.json`);
    assert.deepEqual((await readServerStates(dataDir)).map(({ number }) => number), [3, 10, 127]);
    assert.deepEqual(await readServerState(dataDir, 3), STATE);
    await removeServerState(dataDir, 3);
    await removeServerState(dataDir, 3);
    assert.equal(await readServerState(dataDir, 3), undefined);
  }));

Deno.test("parseServerState() takes only whole and sensible states", () => {
  assert.deepEqual(parseServerState(JSON.stringify({ ...STATE, later: 1 })), STATE);
  const wrong = { pid: [0, -1, "1", 1.5], number: [-1, 128, null], port: [0, 65_536], host: [1], version: [undefined] };
  for (const [field, values] of Object.entries(wrong)) {
    for (const value of values) {
      assert.equal(parseServerState(JSON.stringify({ ...STATE, [field]: value })), undefined, `${field} ${value}`);
    }
  }
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
    const state = parseServerState(text);
    return state === undefined || state.pid > 0;
  }));
});

Deno.test("parseServerStatus() keeps what it does not know and refuses what lacks the rest", () => {
  const status = {
    pid: 1,
    number: 0,
    port: 9001,
    version: "x",
    connections: 0,
    ready: true,
    store: "leader",
    users: 4,
  };
  assert.deepEqual(parseServerStatus(status), status);
  for (const name of ["pid", "number", "port", "version", "connections", "ready", "store"]) {
    assert.equal(parseServerStatus({ ...status, [name]: undefined }), undefined, name);
    assert.equal(parseServerStatus({ ...status, [name]: {} }), undefined, name);
  }
});

Deno.test("readBalancerState() gives what was written, and nothing for nonsense", () =>
  inDirectory(async (dataDir) => {
    assert.equal(await readBalancerState(dataDir), undefined);
    const { run, balancer } = dataPaths(dataDir);
    await Deno.mkdir(run);
    const { pid, host, port, version, startedAt } = STATE;
    const state = { pid, host, port, version, startedAt, serverArguments: ["--registration", "closed"] };
    await writeBalancerState(dataDir, state);
    assert.deepEqual(await readBalancerState(dataDir), state);
    await Deno.writeTextFile(balancer.state, JSON.stringify({ ...state, serverArguments: [1] }));
    assert.equal(await readBalancerState(dataDir), undefined);
  }));

Deno.test("readMigration() gives what was written until it is removed, and nothing for nonsense", () =>
  inDirectory(async (dataDir) => {
    assert.equal(await readMigration(dataDir), undefined);
    await Deno.mkdir(dataPaths(dataDir).run);
    await removeMigration(dataDir);
    writeMigration(dataDir, { pid: 4711, from: 3, to: 9 });
    assert.deepEqual(await readMigration(dataDir), { pid: 4711, from: 3, to: 9 });
    for (const nonsense of ["", "{", "[]", `{"pid":0,"from":1,"to":2}`, `{"pid":1,"from":1}`]) {
      await Deno.writeTextFile(dataPaths(dataDir).migration, nonsense);
      assert.equal(await readMigration(dataDir), undefined, nonsense);
    }
    await removeMigration(dataDir);
    assert.equal(await readMigration(dataDir), undefined);
  }));
