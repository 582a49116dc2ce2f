/** A server that cannot start, or cannot go on: what to tell the person, and the exit code. */
export class StartError extends Error {
  override readonly name = "StartError";
  /** @param exitCode 1 failed; 3 a port, address or number is not available. */
  constructor(readonly exitCode: 1 | 3, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}
