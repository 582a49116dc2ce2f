/**
 * Where one person's things lie on this machine: `--home`, FASTCHAT_HOME, or `<user data dir>/fastchat/<NAME>@<HOST>_<PORT>`.
 */
import { join, resolve } from "node:path";
import { userDataDirectory } from "../shared/host/mod.ts";
import { parseUserName } from "../shared/protocol/mod.ts";
import { UsageError } from "./errors.ts";
import type { ServerAddress } from "./network/server_address.ts";

/** A home with the account its folder's name tells. */
export interface Home {
  readonly directory: string;
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** `--home` or FASTCHAT_HOME, absolute, or `undefined` where neither is given. */
export function explicitHome(option: string | undefined): string | undefined {
  const directory = option ?? Deno.env.get("FASTCHAT_HOME");
  if (directory === undefined) return undefined;
  if (directory === "") throw new UsageError("--home (or FASTCHAT_HOME) is empty; it names a folder");
  return resolve(directory);
}

/** Where an account's home is when nobody says otherwise. Colons of IPv6 become `-`: file systems forbid them. */
export function defaultHome(name: string, { host, port }: ServerAddress): string {
  return join(homesDirectory(), `${name}@${host.replaceAll(":", "-")}_${port}`);
}

/** The accounts on this machine, in order of name; `at` leaves those of one server. */
export function listHomes(at?: ServerAddress): Home[] {
  let entries: Deno.DirEntry[];
  try {
    entries = [...Deno.readDirSync(homesDirectory())];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  const homes = entries.flatMap((entry): Home[] => {
    const match = /^([^@]+)@(.+)_(\d{1,5})$/.exec(entry.name);
    if (!entry.isDirectory || match === null || parseUserName(match[1]!) === undefined) return [];
    return [{
      directory: join(homesDirectory(), entry.name),
      name: match[1]!,
      host: match[2]!,
      port: Number(match[3]),
    }];
  });
  const host = at?.host.replaceAll(":", "-");
  return homes
    .filter((home) => at === undefined || (home.host === host && home.port === at.port))
    .sort((a, b) => a.directory < b.directory ? -1 : 1);
}

/**
 * The one home that a command means.
 *
 * @throws UsageError where there is none or several, naming them.
 */
export function chooseHome(options: { home?: string; user?: string }, at?: ServerAddress): string {
  const given = explicitHome(options.home);
  if (given !== undefined) return given;
  const all = listHomes(at);
  const wanted = options.user?.toLowerCase();
  const homes = wanted === undefined ? all : all.filter((home) => home.name === wanted);
  if (homes.length === 1) return homes[0]!.directory;
  const names = (homes.length > 0 ? homes : all).map(({ name, host, port }) => `  ${name} on ${host}:${port}`).join(
    "\n",
  );
  if (homes.length > 1 && wanted === undefined) {
    const hint = at === undefined ? "" : " (a new name signs up)";
    throw new UsageError(`Several accounts are on this machine; choose one with -u NAME${hint}:\n${names}`);
  }
  if (homes.length > 1) {
    throw new UsageError(
      `${options.user} has accounts on several servers; choose one with --home:\n` +
        homes.map(({ directory }) => `  --home ${directory}`).join("\n"),
    );
  }
  if (all.length > 0) throw new UsageError(`No account ${options.user} is on this machine. There are:\n${names}`);
  throw new UsageError(
    "No account is on this machine yet. Sign up or log in first: fastchat HOST PORT, or fastchat register NAME --server HOST:PORT",
  );
}

function homesDirectory(): string {
  return join(userDataDirectory(), "fastchat");
}
