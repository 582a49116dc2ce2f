/** `fastchat HOST PORT`: finds or makes the account, then hands over to the chat face. */
import { NAME_RULE, parseUserName, type UserName } from "../../shared/protocol/mod.ts";
import { ChatClient } from "../chat_client.ts";
import { isNameTaken } from "../network/enquiry.ts";
import { homeExists } from "../home_parts.ts";
import type { Options } from "../options.ts";
import { NotAuthenticatedError, UsageError, WrongPasswordError } from "../errors.ts";
import { ChatFace } from "../faces/chat.ts";
import { chooseHome, defaultHome, explicitHome, listHomes } from "../homes.ts";
import { givenPassword, newPassword, passwordFor } from "../password.ts";
import { ask, canAsk, printNotice } from "../prompt.ts";
import {
  formatPinnedAddress,
  formatServerAddress,
  parseServerAddress,
  type ServerAddress,
} from "../network/server_address.ts";
import { parseName } from "./account.ts";
import { hintRecovery, RecoveryFile, recoveryLines } from "./recovery_file.ts";
import { deviceName, printProgress, reach, untilInterrupted } from "./open.ts";
import { findWayIn, keepUnlocked } from "./unlocked.ts";

export async function chat(words: readonly string[], options: Options): Promise<number> {
  const [host, port] = words;
  const at = host === undefined ? undefined : parseServerAddress(port === undefined ? host : hostAndPort(host, port));
  const client = await openAccount(at, options);
  const { signal, dispose } = untilInterrupted();
  try {
    return await new ChatFace(client, { password: await givenPassword(options.passwordFile) }).run(signal);
  } finally {
    dispose();
    await client.close();
  }
}

function hostAndPort(host: string, port: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The account that is here already, or else the one that a person makes now. */
async function openAccount(at: ServerAddress | undefined, options: Options): Promise<ChatClient> {
  const here = existingHome(at, options);
  if (here !== undefined) return await openExisting(here, at, options);
  if (at === undefined) chooseHome(options); // Throws, and says how to begin.
  if (canAsk()) return await openByPrompt(at!, options);
  if (options.user === undefined) {
    throw new UsageError(`No account for ${formatServerAddress(at!)} is here yet; choose a name with -u NAME`);
  }
  const name = parseName(options.user);
  return await openNew(at!, options, name, await passwordFor(name, options.passwordFile), true);
}

function existingHome(at: ServerAddress | undefined, options: Options): string | undefined {
  const given = explicitHome(options.home);
  if (given !== undefined) return homeExists(given) ? given : undefined;
  const homes = listHomes(at).filter(({ directory }) => homeExists(directory));
  const wanted = options.user?.toLowerCase();
  const mine = wanted === undefined ? homes : homes.filter(({ name }) => name === wanted);
  if (mine.length === 1) return mine[0]!.directory;
  if (mine.length > 1 || (at === undefined && homes.length > 0)) return chooseHome(options, at);
  return undefined;
}

async function openExisting(home: string, at: ServerAddress | undefined, options: Options): Promise<ChatClient> {
  const shared = {
    home,
    ...reach(options),
    onProgress: printProgress,
    ...(at === undefined ? {} : { server: formatPinnedAddress(at) }),
    ...(options.user === undefined ? {} : { name: options.user }),
  };
  const way = await findWayIn(home, options), given = await givenPassword(options.passwordFile);
  try {
    return await ChatClient.open({ ...shared, ...way });
  } catch (error) {
    if (!(error instanceof NotAuthenticatedError) || given !== undefined || !canAsk()) throw error;
    printNotice(error.message);
    return await untilRight(async () =>
      await ChatClient.open({ ...shared, ...way, password: await passwordFor("this account", undefined) })
    );
  }
}

/** Asks for a name, looks whether somebody has it, and signs up or logs in accordingly. */
async function openByPrompt(at: ServerAddress, options: Options): Promise<ChatClient> {
  const server = formatServerAddress(at), file = options.passwordFile;
  for (;;) {
    const name = options.user === undefined ? await askName() : parseName(options.user);
    printProgress(`Connecting to ${server}`);
    if (!await isNameTaken(name, { server: at, ...reach(options) })) {
      printNotice(`${name} is new there: choose a password, and you are signed up.`);
      return await openNew(at, options, name, await newPassword(name, file), true);
    }
    const given = await givenPassword(file);
    if (given !== undefined) return await openNew(at, options, name, given, false);
    const mayReturn = options.user === undefined;
    printNotice(`${name} is taken. If it is you, log in${mayReturn ? "; Enter alone goes back to the name" : ""}.`);
    const client = await untilRight(async () => {
      const password = await passwordFor(name, file);
      return password === "" && mayReturn ? undefined : await openNew(at, options, name, password, false);
    });
    if (client !== undefined) return client;
  }
}

async function openNew(
  at: ServerAddress,
  options: Options,
  name: UserName,
  password: string,
  register: boolean,
): Promise<ChatClient> {
  using file = register ? RecoveryFile.open(options.recoveryFile) : undefined;
  const chat = await ChatClient.open({
    server: formatPinnedAddress(at),
    home: explicitHome(options.home) ?? defaultHome(name, at),
    name,
    password,
    register,
    serverBackup: options.serverBackup,
    deviceName: deviceName(options),
    ...reach(options),
    onProgress: printProgress,
  });
  if (await givenPassword(options.passwordFile) === undefined) await keepUnlocked(chat.home, chat.key(), options);
  const key = chat.takeRecoveryKey();
  if (key === undefined) return chat;
  file?.write(key);
  if (canAsk() || file !== undefined) { for (const line of recoveryLines(key, file)) printNotice(line); }
  else hintRecovery();
  return chat;
}

async function askName(): Promise<UserName> {
  for (;;) {
    const name = parseUserName((await ask("Your name: ")).trim());
    if (name !== undefined) return name;
    printNotice(`A name is ${NAME_RULE}.`);
  }
}

/** Asks a person again after a wrong password. */
async function untilRight<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = ATTEMPTS - 1;; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof WrongPasswordError) || left === 0) throw error;
      printNotice(`${error.message}. Once more.`);
    }
  }
}

/** The server lets five go by before it makes people wait. */
const ATTEMPTS = 3;
