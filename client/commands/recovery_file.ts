/** How a recovery key reaches its owner: on the screen, this once, or by `--recovery-file FILE`. */
import { UsageError } from "../errors.ts";
import { printError } from "../output.ts";

/** A file that was made before anything else was done, so that a key is never made that cannot be kept. */
export class RecoveryFile {
  readonly path: string;
  #written = false;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes it, mode 0600. @throws UsageError where that cannot be, or where there is such a file: it may be the key of another. */
  static open(path: string | undefined): RecoveryFile | undefined {
    if (path === undefined) return undefined;
    try {
      Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
    } catch (error) {
      const why = error instanceof Deno.errors.AlreadyExists
        ? "there is such a file already"
        : (error as Error).message;
      throw new UsageError(`Cannot write the recovery key to ${path}: ${why}`);
    }
    return new RecoveryFile(path);
  }

  write(key: string): void {
    using file = Deno.openSync(this.path, { write: true });
    const bytes = new TextEncoder().encode(`${key}\n`);
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    file.syncSync();
    this.#written = true;
  }

  /** Where nothing came of it, nothing stays. */
  [Symbol.dispose](): void {
    if (!this.#written) Deno.removeSync(this.path);
  }
}

/** The file's first line. @throws UsageError */
export async function readRecoveryFile(path: string): Promise<string> {
  try {
    return (await Deno.readTextFile(path)).split(/\r?\n/)[0]!;
  } catch (error) {
    throw new UsageError(`Cannot read the recovery key in ${path}: ${(error as Error).message}`);
  }
}

/** How a recovery key is shown, this once. */
export function recoveryLines(key: string, file: RecoveryFile | undefined): string[] {
  if (file !== undefined) {
    return [`Your recovery key is in ${file.path}: keep it where this machine's loss does not take it`];
  }
  return [
    "Your recovery key, shown this once. Write it down: it gets your account back",
    "when the password and all devices are lost.",
    "",
    `  ${key}`,
    "",
    'Another one, which makes this one void: "fastchat recovery new"',
  ];
}

/** The same for scripts. */
export function recoveryJson(key: string, file: RecoveryFile | undefined): Record<string, string> {
  return file === undefined ? { recoveryKey: key } : { recoveryFile: file.path };
}

/** For a sign-up that nobody watches. */
export function hintRecovery(): void {
  printError(
    'fastchat: a recovery key was made and shown to nobody: "fastchat recovery new" makes one for you to keep',
  );
}
