/** `fastchat HOST PORT`: finds or makes the account, then hands over to the chat face. */
import { parseUserName, type UserName } from "../../shared/protocol/mod.ts";
import { ChatClient } from "../chat_client.ts";
import { homeExists } from "../local_home.ts";
import type { Options } from "../options.ts";
import { NotAuthenticatedError, UsageError } from "../errors.ts";
import { ChatFace } from "../faces/chat.ts";
import { chooseHome, defaultHome, explicitHome, listHomes } from "../homes.ts";
import { givenPassword, newPassword, passwordFor } from "../password.ts";
import { ask, askChoice, canAsk, printNotice } from "../prompt.ts";
import { formatServerAddress, parseServerAddress, type ServerAddress } from "../server_address.ts";
import { parseName } from "./account.ts";
import { printProgress, timeoutMs, untilInterrupted } from "./open.ts";

export async function chat(words: readonly string[], options: Options): Promise<void> {
  const at = words.length === 2 ? parseServerAddress(hostAndPort(words[0]!, words[1]!)) : undefined;
  const client = await openAccount(at, options);
  const { signal, dispose } = untilInterrupted();
  try {
    await new ChatFace(client).run(signal);
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
  return await openNew(at!, options);
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
    timeoutMs: timeoutMs(options),
    onProgress: printProgress,
    ...(at === undefined ? {} : { server: formatServerAddress(at) }),
    ...(options.user === undefined ? {} : { name: options.user }),
  };
  const password = await givenPassword(options.passwordFile);
  try {
    return await ChatClient.open({ ...shared, ...(password === undefined ? {} : { password }) });
  } catch (error) {
    if (!(error instanceof NotAuthenticatedError) || password !== undefined || !canAsk()) throw error;
    printNotice(error.message);
    return await ChatClient.open({ ...shared, password: await passwordFor("this account", undefined) });
  }
}

async function openNew(at: ServerAddress, options: Options): Promise<ChatClient> {
  const server = formatServerAddress(at);
  const name = await newcomerName(server, options);
  const isNew = !canAsk() || await askChoice(`Is ${name} new here? [y]es, sign up; [n]o, log in: `, ["y", "n"]) === "y";
  const password = isNew
    ? await newPassword(name, options.passwordFile)
    : await passwordFor(name, options.passwordFile);
  return await ChatClient.open({
    server,
    home: explicitHome(options.home) ?? defaultHome(name, at),
    name,
    password,
    register: isNew,
    serverBackup: options.serverBackup,
    timeoutMs: timeoutMs(options),
    onProgress: printProgress,
  });
}

async function newcomerName(server: string, options: Options): Promise<UserName> {
  if (options.user !== undefined) return parseName(options.user);
  if (!canAsk()) throw new UsageError(`No account for ${server} is here yet; choose a name with -u NAME`);
  for (;;) {
    const name = parseUserName((await ask("Your name: ")).trim());
    if (name !== undefined) return name;
    printNotice("A name is 1 to 32 of a-z 0-9 . _ -, beginning with a letter or digit.");
  }
}
