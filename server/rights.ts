/** What a connection may ask, from what it has shown of itself. */
import { ErrorCode, RequestError } from "../shared/errors.ts";
import type { Caller, Standing } from "./context.ts";
import type { Session } from "./sessions.ts";

/** `any`: whatever it has shown. Otherwise exactly that: who is logged in cannot log in once more on the same connection. */
export type RightsNeeded = "any" | Standing["rights"];

/** @throws RequestError notAuthenticated, forbidden */
export function checkRights(needed: RightsNeeded, standing: Standing): void {
  if (needed === "any" || needed === standing.rights) return;
  if (standing.rights === "session") {
    throw new RequestError(ErrorCode.forbidden, "This connection is logged in already");
  }
  // Somebody enrolling may still log in afresh, and gives up the place in the queue by it.
  if (needed === "none") return;
  throw new RequestError(
    ErrorCode.notAuthenticated,
    standing.rights === "enrolling" ? "Enrol this device first" : "Log in first",
  );
}

/** The session of a caller whose rights were checked. @throws RequestError where it ended meanwhile. */
export function sessionOf(caller: Caller): Session {
  if (caller.standing.rights !== "session") throw new RequestError(ErrorCode.notAuthenticated, "Log in first");
  return caller.standing.session;
}
