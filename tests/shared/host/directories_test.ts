import assert from "node:assert/strict";
import { userDataDirectory } from "../../../shared/host/mod.ts";

Deno.test("userDataDirectory() follows each system's custom", () => {
  const env = (values: Record<string, string>) => (name: string) => values[name];
  assert.equal(userDataDirectory("linux", env({ HOME: "/h/a", XDG_DATA_HOME: "/x" })), "/x");
  assert.equal(userDataDirectory("linux", env({ HOME: "/h/a" })), "/h/a/.local/share");
  assert.equal(userDataDirectory("linux", env({ HOME: "/h/a", XDG_DATA_HOME: "relative" })), "/h/a/.local/share");
  assert.equal(userDataDirectory("darwin", env({ HOME: "/U/a" })), "/U/a/Library/Application Support");
  assert.equal(userDataDirectory("windows", env({ LOCALAPPDATA: "C:\\L" })), "C:\\L");
  assert.equal(userDataDirectory("windows", env({ USERPROFILE: "C:\\U" })), "C:\\U\\AppData\\Local");
  assert.throws(() => userDataDirectory("linux", env({})), /HOME is not set/);
});
