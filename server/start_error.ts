/** A server that cannot start, or cannot go on: what to tell the person, and the exit code. */
export class StartError extends Error {
  override readonly name = "StartError";
  /** @param exitCode 1 failed; 2 a file or directory that cannot be meant; 3 a port, address or number is not available; 4 damage. */
  constructor(readonly exitCode: 1 | 2 | 3 | 4, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}
