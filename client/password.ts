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

/** A new password, twice; an empty answer is offered a generated one. Weak ones are refused with the reason. */
export async function newPassword(name: string, file: string | undefined): Promise<string> {
  const given = await givenPassword(file);
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
