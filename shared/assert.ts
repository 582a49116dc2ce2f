/** Programmer errors. Stays on in release builds: a broken invariant must stop the program, not corrupt a conversation. */

/** Thrown by {@linkcode assert}: our own bug, never something a peer or a disk can choose. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Stops when an invariant of ours does not hold. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks a branch that the types say cannot be reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`Reached the unreachable with ${String(value)}`);
}
