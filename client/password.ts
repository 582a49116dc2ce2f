/** Where a password comes from: `--password-file`, FASTCHAT_PASSWORD, or a prompt. */
import { generatePassphrase, passwordProblem, systemRandom } from "../shared/crypto/mod.ts";
import { environmentPassword } from "./environment.ts";
import { NotAuthenticatedError, UsageError } from "./errors.ts";
import { askHidden, canAsk, printNotice } from "./prompt.ts";

/** The password that was given without a prompt: the file's first line, or the environment's. */
export async function givenPassword(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return environmentPassword;
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    throw new UsageError(`Cannot read the password file ${file}: ${(error as Error).message}`);
  }
  const [line] = text.split(/\r?\n/);
  if (line === undefined || line === "") throw new UsageError(`The password file ${file} has an empty first line`);
  return line;
}

/** The password of an account that exists. */
export async function passwordFor(name: string, file: string | undefined): Promise<string> {
  const given = await givenPassword(file);
  if (given !== undefined) return given;
  if (!canAsk()) {
    throw new NotAuthenticatedError(
      `The password of ${name} is needed: give --password-file FILE or FASTCHAT_PASSWORD, or run this on a terminal`,
    );
  }
  return await askHidden(`Password of ${name}: `);
}

/**
 * A new password, twice; an empty answer is offered a generated one. Weak ones are refused with the reason.
 *
 * @param options.given Whether one that was given without a prompt is the new one; it is, unless it may be the old one.
 */
export async function newPassword(
  name: string,
  file: string | undefined,
  options: { readonly given: boolean } = { given: true },
): Promise<string> {
  const given = options.given ? await givenPassword(file) : undefined;
  if (given !== undefined || !canAsk()) {
    if (given === undefined) return await passwordFor(name, file);
    const problem = passwordProblem(given, name);
    if (problem !== undefined) throw new UsageError(`That password will not do: ${problem}`);
    return given;
  }
  for (;;) {
    const password = await askHidden(`New password for ${name} (empty: I suggest one): `);
    if (password === "") {
      const suggestion = generatePassphrase(systemRandom);
      printNotice(`Your password, write it down: ${suggestion}`);
      if (await askHidden("Type it once, to be sure: ") === suggestion) return suggestion;
      printNotice("That was something else. Once more.");
      continue;
    }
    const problem = passwordProblem(password, name);
    if (problem !== undefined) printNotice(`That will not do: ${problem}`);
    else if (await askHidden("The same again: ") === password) return password;
    else printNotice("The two differ. Once more.");
  }
}

/** Passwords on standard input, a line each, where nobody can be asked: nothing else of the program reads there. */
export class InputLines {
  #lines: AsyncIterator<string> | undefined;

  /** @returns `undefined` at the end, and for an empty line. */
  async next(): Promise<string | undefined> {
    this.#lines ??= linesOf(Deno.stdin.readable);
    const { value, done } = await this.#lines.next();
    return done === true || value === "" ? undefined : value;
  }
}

async function* linesOf(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const piece of bytes.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)) {
    const lines = (rest + piece).split(/\r?\n/);
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}
