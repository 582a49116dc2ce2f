import assert from "node:assert/strict";
import { COMMANDS } from "../../client/commands.ts";
import { overview } from "../../client/overview.ts";

Deno.test("overview() names every command and every exit code", () => {
  for (const { usage } of Object.values(COMMANDS)) assert(overview().includes(usage));
  for (let code = 0; code <= 8; code++) assert.match(overview(), new RegExp(`\\b${code} \\w`));
});
