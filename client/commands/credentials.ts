/** `recover`, `recovery` and `passwd`. */
import { ChatClient } from "../chat_client.ts";
import { environmentNewPassword } from "../environment.ts";
import { NotAuthenticatedError, UsageError } from "../errors.ts";
import { chooseHome } from "../homes.ts";
import { homeExists } from "../home_parts.ts";
import { noAccount } from "../local_home.ts";
import type { Options } from "../options.ts";
import { printLine } from "../output.ts";
import { givenPassword, InputLines, newPassword, passwordFor } from "../password.ts";
import { canAsk } from "../prompt.ts";
import { readRecoveryKey } from "../account/recovery.ts";
import { finish, target } from "./account.ts";
import { offerArchive, warnOfArchive } from "./archive.ts";
import { deviceName, printProgress, reach, withClient } from "./open.ts";
import { RecoveryFile, recoveryJson, recoveryLines } from "./recovery_file.ts";
import { recoveryKeyFor } from "./recovery_input.ts";
import { findWayIn } from "./unlocked.ts";

export async function recover(words: readonly string[], options: Options): Promise<void> {
  const { name, server, home } = target("recover", words, options), input = new InputLines();
  const recoveryKey = await recoveryKeyFor(name, options, input);
  // A slip of the pen is found before anybody is asked for a password.
  readRecoveryKey(recoveryKey);
  const password = environmentNewPassword ?? await newOf(name, options.passwordFile, input);
  const chat = await ChatClient.recover({
    server,
    home,
    name,
    recoveryKey,
    password,
    signOutOthers: options.signOutOthers,
    ...reach(options),
    deviceName: deviceName(options),
    onProgress: printProgress,
  });
  const archive = await offerArchive(chat, readRecoveryKey(recoveryKey), options);
  await finish("recovered", options, chat);
  if (!options.json) {
    for (const line of [...RECOVERED, ...(archive === undefined ? NO_ARCHIVE : [])]) {
      printLine(line);
    }
  }
  for (const line of archive ?? []) printLine(line);
}

export async function recovery(words: readonly string[], options: Options): Promise<void> {
  const [verb] = words;
  if (verb !== undefined && verb !== "new") throw new UsageError("Usage: fastchat recovery [new]");
  if (verb === undefined) return await showRecovery(options);
  using file = RecoveryFile.open(options.recoveryFile);
  await withClient(options, async (chat) => {
    const password = await passwordFor(chat.name, options.passwordFile);
    const key = await chat.newRecoveryKey({ password });
    file?.write(key);
    if (options.json) printLine(JSON.stringify({ type: "recovery-key", name: chat.name, ...recoveryJson(key, file) }));
    else for (const line of recoveryLines(key, file)) printLine(line);
    await warnOfArchive(chat);
  });
}

export async function passwd(_words: readonly string[], options: Options): Promise<void> {
  const home = chooseHome(options);
  if (!homeExists(home)) throw noAccount(home);
  const input = new InputLines();
  const typed = await givenPassword(options.passwordFile) === undefined && !canAsk() ? await input.next() : undefined;
  const way = await findWayIn(home, options, typed);
  const chat = await ChatClient.open({
    home,
    ...reach(options),
    onProgress: printProgress,
    ...(options.user === undefined ? {} : { name: options.user }),
    ...way,
  });
  try {
    const old = way.password ?? await passwordFor(chat.name, undefined);
    const password = environmentNewPassword ?? await newOf(chat.name, undefined, input);
    await chat.changePassword({ old, new: password, signOutOthers: options.signOutOthers }, printProgress);
    const signedOut = options.signOutOthers;
    if (options.json) {
      printLine(JSON.stringify({ type: "password-changed", name: chat.name, signedOutOthers: signedOut }));
    } else {
      printLine(`${chat.name} has another password${signedOut ? ", and every other session has ended" : ""}`);
      if (!signedOut) printLine("Other devices stay logged in; --sign-out-others ends their sessions");
    }
  } finally {
    await chat.close();
  }
}

async function showRecovery(options: Options): Promise<void> {
  await withClient(options, async (chat) => {
    const { since, serverBackup } = await chat.recoveryState();
    if (options.json) {
      return printLine(JSON.stringify({ type: "recovery", name: chat.name, since: since ?? null, serverBackup }));
    }
    printLine(since === undefined ? "There is no recovery key" : `There is a recovery key, made at ${since}`);
    printLine(
      serverBackup
        ? "Name and password are enough to log in on another machine"
        : "The server keeps no backup: on another machine only the recovery key, or a copy of identity.pem, gets you in",
    );
    printLine(`"fastchat recovery new" makes ${since === undefined ? "one" : "another, and this one void"}`);
  });
}

async function newOf(name: string, file: string | undefined, input: InputLines): Promise<string> {
  const isGiven = file !== undefined && await givenPassword(file) !== undefined;
  if (isGiven || canAsk()) return await newPassword(name, file, { given: isGiven });
  const line = await input.next();
  if (line !== undefined) return line;
  throw new NotAuthenticatedError(
    `A new password for ${name} is needed: give FASTCHAT_NEW_PASSWORD, a line on standard input, or run this on a terminal`,
  );
}

const RECOVERED = [
  "Your account is yours again, with the new password. The recovery key stays good; if anybody saw it, make another:",
  '"fastchat recovery new". Sessions elsewhere go on unless you gave --sign-out-others.',
];
const NO_ARCHIVE = [
  "Messages from before are not brought back here: they were sealed for your other devices, and there is no archive",
  "of them.",
];
