import assert from "node:assert/strict";
import { Notices } from "../../../client/commands/notices.ts";
import { FastChatError } from "../../../client/errors.ts";
import type { NoticeEvent } from "../../../client/events.ts";

const notice = (code: NoticeEvent["code"], text: string): NoticeEvent => ({ type: "notice", code, text });

Deno.test("Notices.tell() prints each notice once, at once, and nothing of first contacts", () => {
  const lines: string[] = [],
    notices = new Notices({ print: (line) => lines.push(line), untold: ({ code }) => code === "device-added" });
  notices.tell(notice("members-differ", "You are out"));
  assert.deepEqual(lines, ["fastchat: You are out"]);
  notices.tell(notice("members-differ", "You are out"));
  notices.tell(notice("peer-pinned", "First contact with bob"));
  notices.tell(notice("device-added", "A device was added"));
  notices.flush();
  assert.deepEqual(lines, ["fastchat: You are out"]);
});

Deno.test("Notices.drop() leaves to the failure what it says itself", () => {
  const lines: string[] = [],
    notices = new Notices({ print: (line) => lines.push(line), untold: ({ code }) => code === "device-added" });
  notices.tell(notice("key-changed", "Bob's key changed"));
  notices.tell(notice("key-changed", "Carol's key changed"));
  assert.deepEqual(lines, []);
  notices.drop(new FastChatError("Bob's key changed"));
  notices.flush();
  assert.deepEqual(lines, ["fastchat: Carol's key changed"]);
});
