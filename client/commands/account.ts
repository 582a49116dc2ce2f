/** `register` and `login`. */
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import { NAME_RULE, parseUserName, type UserName } from "../../shared/protocol/mod.ts";
import { ChatClient } from "../chat_client.ts";
import type { Options } from "../options.ts";
import { UsageError } from "../errors.ts";
import { defaultHome, explicitHome } from "../homes.ts";
import { homeExists } from "../home_parts.ts";
import { printLine } from "../output.ts";
import { givenPassword, newPassword, passwordFor } from "../password.ts";
import { parseServerAddress } from "../network/server_address.ts";
import { deviceName, printProgress, reach } from "./open.ts";
import { RecoveryFile, recoveryJson, recoveryLines } from "./recovery_file.ts";
import { findWayBack, keepUnlocked } from "./unlocked.ts";

export async function register(words: readonly string[], options: Options): Promise<void> {
  const { name, server, home } = target("register", words, options);
  using recoveryFile = RecoveryFile.open(options.recoveryFile);
  const password = await newPassword(name, options.passwordFile);
  await finish(
    "registered",
    options,
    await ChatClient.register({
      server,
      home,
      name,
      password,
      serverBackup: options.serverBackup,
      ...reach(options),
      deviceName: deviceName(options),
      onProgress: printProgress,
    }),
    recoveryFile,
  );
}

export async function login(words: readonly string[], options: Options): Promise<void> {
  const { name, server, home } = target("login", words, options);
  const password = await passwordFor(name, options.passwordFile);
  await finish(
    "logged-in",
    options,
    await ChatClient.login({
      server,
      home,
      name,
      password,
      ...(homeExists(home) ? await findWayBack(home, options, password) : {}),
      ...reach(options),
      deviceName: deviceName(options),
      onProgress: printProgress,
    }),
  );
}

/** What a person typed as a name. @throws UsageError */
export function parseName(input: string): UserName {
  const name = parseUserName(input);
  if (name === undefined) throw new UsageError(`${JSON.stringify(input)} cannot be a name: a name is ${NAME_RULE}`);
  return name;
}

/** Where somebody who has no account here yet signs up or logs in. */
export function target(command: string, words: readonly string[], options: Options) {
  const name = parseName(words[0]!);
  if (options.server === undefined) {
    throw new UsageError(`Say which server: fastchat ${command} ${name} --server HOST:PORT`);
  }
  const address = parseServerAddress(options.server);
  return { name, server: options.server, home: explicitHome(options.home) ?? defaultHome(name, address) };
}

/** Says who somebody has become; closes the client. */
export async function finish(
  type: "registered" | "logged-in" | "recovered",
  options: Options,
  chat: ChatClient,
  recoveryFile?: RecoveryFile,
): Promise<void> {
  try {
    const key = chat.takeRecoveryKey();
    if (key !== undefined) recoveryFile?.write(key);
    if (await givenPassword(options.passwordFile) === undefined) await keepUnlocked(chat.home, chat.key(), options);
    const fingerprint = formatFingerprint(chat.serverFingerprint);
    if (options.json) {
      const { name, server, home } = chat, recovery = key === undefined ? {} : recoveryJson(key, recoveryFile);
      printLine(JSON.stringify({ type, name, server, fingerprint, home, ...recovery }));
    } else {
      printLine(`${DONE[type]} as ${chat.name} on ${chat.server}`);
      const isNamed = options.server?.includes("#") ?? false;
      printLine(`Server key ${fingerprint}${isNamed ? "" : ": compare it with the one that its balancer printed"}`);
      printLine(`Your things are in ${chat.home}`);
      if (key !== undefined) { for (const line of recoveryLines(key, recoveryFile)) printLine(line); }
      else if (type === "registered") printLine('No recovery key could be made now: "fastchat recovery new" makes one');
    }
  } finally {
    await chat.close();
  }
}

const DONE = { registered: "Signed up", "logged-in": "Logged in", recovered: "Recovered" };
