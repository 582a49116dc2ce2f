/** What a server's refusal of a log-in means to people. */
import { StretchingRefused } from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import {
  ApprovalNeededError,
  DeviceRevokedError,
  NotAuthenticatedError,
  RefusedError,
  WrongPasswordError,
} from "../errors.ts";

/** Whether the server has refused something with one of these codes. */
export function isRefusedWith(error: unknown, ...codes: readonly number[]): boolean {
  return (error instanceof RequestError || error instanceof RefusedError) && codes.includes(error.code);
}

/** The error to throw in place of one that came up in a log-in; the same where it says enough. */
export function explainLogIn(error: unknown): unknown {
  if (error instanceof StretchingRefused) return new RefusedError(error.message, ErrorCode.internal, { cause: error });
  if (isRefusedWith(error, ErrorCode.badCredentials)) return new WrongPasswordError((error as Error).message);
  if (isRefusedWith(error, ErrorCode.deviceRevoked)) return new DeviceRevokedError((error as Error).message);
  if (isRefusedWith(error, ErrorCode.approvalNeeded)) return new ApprovalNeededError((error as Error).message);
  if (isRefusedWith(error, ErrorCode.notAuthenticated)) return new NotAuthenticatedError((error as Error).message);
  return error;
}

/** A home that is somebody's may hold an old password, as its seal does: what to do then stands in the message. */
export function wrongPasswordHere(error: unknown, name: string, server: string): unknown {
  if (!isRefusedWith(error, ErrorCode.badCredentials)) return error;
  return new WrongPasswordError(
    `The server does not take this password of ${name}. If it was changed on another device, log in with the new one: ` +
      `fastchat login ${name} --server ${server}`,
  );
}
