/** Where a recovery key comes from: `--recovery-file`, a prompt, or a line on standard input. */
import { NotAuthenticatedError, UsageError } from "../errors.ts";
import type { Options } from "../options.ts";
import type { InputLines } from "../password.ts";
import { ask, canAsk, printNotice } from "../prompt.ts";
import { readRecoveryKey } from "../account/recovery.ts";
import { readRecoveryFile } from "./recovery_file.ts";

/** The recovery key of an account, as somebody gave it. @throws NotAuthenticatedError where nobody did, and nobody is there. */
export async function recoveryKeyFor(name: string, options: Options, input: InputLines): Promise<string> {
  if (options.recoveryFile !== undefined) return await readRecoveryFile(options.recoveryFile);
  if (canAsk()) return await askRecoveryKey(name);
  const line = await input.next();
  if (line !== undefined) return line;
  throw new NotAuthenticatedError(
    `The recovery key of ${name} is needed: give --recovery-file FILE, or a line on standard input`,
  );
}

/** Shown while it is typed: 36 characters are not to be typed blindly, and whoever reads them over a shoulder has seconds. */
async function askRecoveryKey(name: string): Promise<string> {
  for (;;) {
    const text = await ask(`Recovery key of ${name}: `);
    try {
      readRecoveryKey(text);
      return text;
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      printNotice(error.message);
    }
  }
}
