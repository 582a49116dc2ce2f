/** What the database refuses, and why. */

/** A call that cannot be granted; it changed nothing, so the transaction around it goes on. */
export class RefusedError extends RangeError {
  override readonly name = "RangeError";
}

/** A newer leadership has written to this database: we are not the leader, whatever we believe (SECURITY P12). */
export class SupersededError extends Error {
  override readonly name = "SupersededError";
}
