import assert from "node:assert/strict";
import { COMMANDS, findCommand } from "../../client/commands.ts";

Deno.test("COMMANDS has each command under its own name, and findCommand() nothing else", () => {
  for (const [name, command] of Object.entries(COMMANDS)) {
    assert.equal(command.name, name);
    assert.equal(findCommand(name), command);
    assert(command.usage.startsWith("fastchat"), command.usage);
    const [min, max] = command.words;
    assert(min <= max);
  }
  for (const name of ["snd", "toString", "constructor", ""]) assert.equal(findCommand(name), undefined);
});

Deno.test("COMMANDS fit 80 columns with what they say of themselves", () => {
  for (const { name, usage, summary, help } of Object.values(COMMANDS)) {
    for (const line of [`${" ".repeat(30)}${summary}`, usage, ...help.split("\n")]) {
      assert(line.length <= 80, `${name}: ${line}`);
    }
  }
});
