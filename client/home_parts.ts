/** What a home consists of, where there is one, and what opening one leaves behind. */
import { join } from "node:path";
import { Acks } from "./talk/acks.ts";
import { Credentials } from "./account/credentials.ts";
import { Database } from "./home/database.ts";
import { FastChatError, UsageError } from "./errors.ts";
import { Conversations } from "./talk/conversations.ts";
import { History } from "./talk/history.ts";
import { Shown } from "./talk/shown.ts";
import type { HomeVault } from "./home/home_vault.ts";
import { KnownServers } from "./network/known_servers.ts";
import { LOGIN_LOCK_FILE } from "./account/login_lock.ts";
import { Settings } from "./home/settings.ts";
import { States } from "./talk/states.ts";

/** The parts of a home, opened. */
export interface HomeParts {
  readonly directory: string;
  readonly database: Database;
  readonly conversations: Conversations;
  readonly history: History;
  readonly shown: Shown;
  readonly servers: KnownServers;
  readonly credentials: Credentials;
  readonly acks: Acks;
  readonly states: States;
  readonly settings: Settings;
  /** Seals secrets in the database. Locked until `unlock()` of account/unlock.ts. */
  readonly vault: HomeVault;
}

/** Opens a home's database, making both where they are not there. @throws UsageError where that cannot be done. */
export function openHome(directory: string): HomeParts {
  let database: Database;
  try {
    Credentials.ensureHome(directory);
    database = Database.open(join(directory, DATABASE_FILE));
  } catch (error) {
    if (error instanceof FastChatError) throw error;
    throw new UsageError(`Cannot use ${directory} as home: ${whyNot(error as Error)}`, { cause: error });
  }
  const history = new History(database),
    shown = new Shown(database),
    credentials = new Credentials(directory, database);
  try {
    credentials.adoptFiles();
  } catch (error) {
    database.close();
    throw error;
  }
  return {
    directory,
    database,
    vault: database.vault,
    conversations: new Conversations(database),
    history,
    shown,
    acks: new Acks(database, shown),
    states: new States(database),
    settings: new Settings(database),
    servers: new KnownServers(database),
    credentials,
  };
}

/**
 * What a first attempt that failed would leave behind as if somebody lived there. Only what that attempt made goes: the
 * directory may be the person's own, with other things in it.
 */
export class HomeTraces {
  readonly #directory: string;
  readonly #hadHome: boolean;
  readonly #hadDirectory: boolean;

  /** Before the home is opened. */
  constructor(directory: string) {
    this.#directory = directory;
    this.#hadHome = homeExists(directory);
    this.#hadDirectory = isDirectory(directory);
  }

  /** After it was closed. */
  remove(): void {
    if (this.#hadHome) return;
    try {
      for (const file of [DATABASE_FILE, `${DATABASE_FILE}-wal`, `${DATABASE_FILE}-shm`, LOGIN_LOCK_FILE]) {
        removeFile(join(this.#directory, file));
      }
      if (!this.#hadDirectory) Deno.removeSync(this.#directory);
    } catch {
      // Somebody else uses it by now.
    }
  }
}

/** Whether there is a home at all; `openHome` would make one. */
export function homeExists(directory: string): boolean {
  try {
    return Deno.statSync(join(directory, DATABASE_FILE)).isFile;
  } catch {
    // Not there, or not to be looked at: `openHome` says which.
    return false;
  }
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** SQLite needs room to open a database, and does not say so. */
function whyNot({ message }: Error): string {
  return /disk I\/O error|database or disk is full/.test(message)
    ? `there is no room on its disk, or it fails (${message})`
    : message;
}

const DATABASE_FILE = "fastchat.db";
