/** Why what was asked of a server was not done. */
import { CloseCode, type CloseReason, ErrorCode, RequestError } from "../../shared/errors.ts";
import type { ResponseOf } from "../../shared/protocol/mod.ts";
import { CannotReachError } from "../errors.ts";
import { sanitizeLine } from "../sanitize.ts";

/** The connection ended under what was asked. */
export class ConnectionLostError extends CannotReachError {
  constructor(readonly reason: CloseReason) {
    super(`Connection lost: ${whyLost(reason)}`);
  }
}

function whyLost({ code, byPeer, reason }: CloseReason): string {
  if (byPeer && code === CloseCode.malformedMessage) {
    return "the server did not understand this client: one of the two is of an older version";
  }
  return sanitizeLine(reason) || "no reason given";
}

/** The server's refusal, with what an append needs of it. */
export class ServerRefusal extends RequestError {
  constructor(readonly response: ResponseOf<"error">) {
    super(response.code, isTooOld(response) ? TOO_OLD : sanitizeLine(response.message), response.retryAfterMs);
  }
}

/** The server has no such request: this program is of a later version. */
function isTooOld({ code }: { readonly code: number }): boolean {
  return code === ErrorCode.unsupported;
}

/** The server gave a stream up without answering: as if the store were changing hands, the same may be asked again. */
export function unanswered(): RequestError {
  return new RequestError(ErrorCode.unavailable, "The server gave no answer");
}

const TOO_OLD =
  "This server is older than this program and does not have what this needs: ask its operator to update it";
