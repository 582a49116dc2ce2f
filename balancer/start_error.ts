/** Why a balancer does not start, for the person who started it. */
export class StartError extends Error {
  override readonly name = "StartError";
  /** @param exitCode As `--help` lists them. */
  constructor(readonly exitCode: 1 | 2 | 3 | 4, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}
