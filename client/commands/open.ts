/** Opens the account a command means, and closes it again whatever happens. */
import type { UserName } from "../../shared/protocol/mod.ts";
import { ChatClient } from "../chat_client.ts";
import { checkDeviceName } from "../account/devices.ts";
import { type DialServer, dialUdp } from "../network/dialer.ts";
import type { NoticeEvent } from "../events.ts";
import type { Options } from "../options.ts";
import { chooseHome } from "../homes.ts";
import { homeExists } from "../home_parts.ts";
import { type LocalHome, noAccount } from "../local_home.ts";
import { printError } from "../output.ts";
import { Notices, type NoticesOptions } from "./notices.ts";
import { findWayIn } from "./unlocked.ts";

/** Seconds a command waits for the server before it gives up, without `--timeout`. */
export const TIMEOUT_SECONDS = 20;
/** How long a command that is done stays for what others have left in the outbox. */
const DRAIN_MS = 5_000;

export function timeoutMs(options: Options): number {
  return (options.timeout ?? TIMEOUT_SECONDS) * 1000;
}

/** How a command reaches its server, and for how long it tries. */
export function reach(options: Options): { readonly timeoutMs: number; readonly dial?: DialServer } {
  const { datagramBytes } = options;
  return {
    timeoutMs: timeoutMs(options),
    ...(datagramBytes === undefined ? {} : { dial: (request) => dialUdp({ ...request, datagramBytes }) }),
  };
}

/** What a new device is called: what was said, or what its machine is. */
export function deviceName({ deviceName }: Options): string | undefined {
  if (deviceName !== undefined) return checkDeviceName(deviceName);
  try {
    return checkDeviceName(Deno.hostname());
  } catch {
    // It has none, or none that would do.
    return undefined;
  }
}

/** What of the client's notices is told beside what a command prints. */
export interface Telling extends Pick<NoticesOptions, "untold"> {
  /** The command does it all by itself. */
  readonly tellsNotices?: boolean;
}

/** For a command that settles what is to become of somebody's key. */
export function aboutKeyOf(name: UserName): Telling {
  return { untold: (notice) => notice.code === "key-changed" && notice.name === name };
}

/**
 * Connects as the account that `--home` or `-u` names, runs `use`, closes. What the client notices meanwhile is told on standard
 * error: much of it is told once, and a command may be all that its owner ever runs.
 */
export async function withClient<T>(
  options: Options,
  use: (chat: ChatClient) => Promise<T>,
  { tellsNotices = false, ...telling }: Telling = {},
): Promise<T> {
  const home = chooseHome(options);
  if (!homeExists(home)) throw noAccount(home);
  const notices = new Notices(telling);
  try {
    const chat = await ChatClient.open({
      home,
      ...reach(options),
      onProgress: printProgress,
      ...(tellsNotices ? {} : { onNotice: (notice: NoticeEvent) => notices.tell(notice) }),
      ...(options.user === undefined ? {} : { name: options.user }),
      ...await findWayIn(home, options),
    });
    try {
      const result = await use(chat);
      // Whatever connects next sends what was queued, as it is promised.
      await chat.drain(DRAIN_MS);
      return result;
    } finally {
      await chat.close();
    }
  } catch (error) {
    notices.drop(error);
    throw error;
  } finally {
    notices.flush();
  }
}

/** The home of the account that `--home` or `-u` names, unlocked and without a connection; closes it. */
export async function withHome<T>(options: Options, use: (home: LocalHome) => T | Promise<T>): Promise<T> {
  const directory = chooseHome(options), home = ChatClient.offline({ home: directory });
  try {
    // Also where it lies open: then the password seals it.
    await home.unlock(await findWayIn(directory, options));
    return await use(home);
  } finally {
    home.close();
  }
}

/** What takes longer than a moment is said on standard error, where somebody is looking. */
export function printProgress(text: string): void {
  if (Deno.stderr.isTerminal()) printError(text);
}

/** Aborts at the first Ctrl-C or TERM, and when the terminal it has goes away. `dispose` gives the signals back. */
export function untilInterrupted(): { signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  // Without a terminal it is for nohup to say what a hang-up means.
  if (Deno.build.os !== "windows" && Deno.stdin.isTerminal()) signals.push("SIGHUP");
  const abort = () => controller.abort();
  for (const signal of signals) Deno.addSignalListener(signal, abort);
  return {
    signal: controller.signal,
    dispose() {
      for (const signal of signals) Deno.removeSignalListener(signal, abort);
    },
  };
}
