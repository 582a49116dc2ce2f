/** Requests that are not done: what the client is told, whatever the cause. */
import { ErrorCode, RequestError } from "../shared/errors.ts";
import type { Response } from "../shared/protocol/mod.ts";
import { StoreFullError, StoreUnavailableError } from "./store/store.ts";

/** After which a client asks again where nothing says better. */
export const BUSY_MS = 500;

/** Why a request is not done, as its error response has it. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly epoch: number;
  readonly retryAfterMs: number;
}

export function busy(retryAfterMs: number): Refusal {
  return { code: ErrorCode.busy, message: "Too many messages: wait a moment", epoch: 0, retryAfterMs };
}

export const NOT_LOGGED_IN: Refusal = {
  code: ErrorCode.notAuthenticated,
  message: "Log in first",
  epoch: 0,
  retryAfterMs: 0,
};

/**
 * What a handler threw, as an answer.
 *
 * @returns `isOurs`: it is worth a line in the log, since no client can have caused it.
 */
export function explain(error: unknown): { readonly response: Response; readonly isOurs: boolean } {
  if (error instanceof RequestError) {
    const { code, message, retryAfterMs } = error;
    return { response: toResponse({ code, message, epoch: 0, retryAfterMs }), isOurs: false };
  }
  if (error instanceof StoreUnavailableError) return { response: toResponse(STORE_UNAVAILABLE), isOurs: false };
  return { response: toResponse(error instanceof StoreFullError ? DISK_FULL : OUR_MISTAKE), isOurs: true };
}

function toResponse(refusal: Omit<Refusal, "code"> & { readonly code: number }): Response {
  return { type: "error", ...refusal, messageId: undefined };
}

const STORE_UNAVAILABLE: Refusal = {
  code: ErrorCode.unavailable,
  message: "The store cannot be reached now",
  epoch: 0,
  retryAfterMs: BUSY_MS,
};
const DISK_FULL: Refusal = {
  code: ErrorCode.diskFull,
  message: "The server's disk is full",
  epoch: 0,
  retryAfterMs: 0,
};
const OUR_MISTAKE: Refusal = {
  code: ErrorCode.internal,
  message: "The server made a mistake",
  epoch: 0,
  retryAfterMs: 0,
};
