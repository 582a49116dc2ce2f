import assert from "node:assert/strict";
import { ConnectionLostError } from "../../../client/network/failures.ts";
import { CloseCode } from "../../../shared/errors.ts";

Deno.test("ConnectionLostError says what a server means that understands nothing", () => {
  const lost = (code: number, byPeer: boolean, reason: string) =>
    new ConnectionLostError({ code, byPeer, reason }).message;
  assert.match(lost(CloseCode.malformedMessage, true, "Malformed message"), /one of the two is of an older version/);
  assert.equal(lost(CloseCode.none, true, "This server is stopping"), "Connection lost: This server is stopping");
  assert.equal(lost(CloseCode.none, false, ""), "Connection lost: no reason given");
});
