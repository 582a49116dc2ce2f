/** Input that is not what its schema says. The peer's violation, caught in one place and answered there. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";
}
