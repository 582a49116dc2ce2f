/** The calls to the leader that are about history handed to new devices. Tags 56 to 58. */
import { array, bool, bytes, type Schema, struct, text, u48, varint } from "../../shared/codec/mod.ts";
import { BODY_BYTES_MAX, HISTORY_PARTS_MAX, READ_BYTES_MAX } from "../../shared/limits.ts";
import { conversationId, deviceId, messageId, userName } from "../../shared/protocol/mod.ts";
import type { HistoryPart, NewHistoryPart } from "./history.ts";
import { empty, operation } from "./operation.ts";

const newPart: Schema<NewHistoryPart> = struct({
  user: userName,
  device: deviceId,
  conversation: conversationId,
  to: deviceId,
  bundle: messageId,
  part: varint,
  parts: varint,
  body: bytes(BODY_BYTES_MAX),
  unlessGiven: bool,
  nowMs: u48,
});
const part: Schema<HistoryPart> = struct({
  number: varint,
  conversation: conversationId,
  body: bytes(BODY_BYTES_MAX),
});

export const historyOperations = {
  putHistory: operation(
    56,
    newPart,
    text(16) as Schema<"kept" | "given" | "full" | "refused">,
    ({ store }, part) => store.putHistory(part),
  ),
  history: operation(
    57,
    struct({ user: userName, device: deviceId, after: varint }),
    array(part, HISTORY_PARTS_MAX),
    ({ store }, { user, device, after }) => store.history(user, device, after),
    READ_BYTES_MAX + BODY_BYTES_MAX,
  ),
  dropHistory: operation(
    58,
    struct({
      user: userName,
      device: deviceId,
      numbers: array(varint, HISTORY_PARTS_MAX),
      isTaken: bool,
    }),
    struct({}),
    ({ store }, { user, device, numbers, isTaken }) => store.dropHistory(user, device, numbers, isTaken).then(empty),
  ),
};
