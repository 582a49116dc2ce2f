/** Groups (docs/PROTOCOL.md §15). */
import { ErrorCode, RequestError } from "../../shared/errors.ts";

/** @throws RequestError notFound */
export function notServed(): never {
  throw new RequestError(ErrorCode.notFound, "This server knows no groups yet");
}
