/**
 * Puts out what nobody was shown yet, one process of a home at a time, so that a chat and a `recv` beside it do not both show a
 * message. At least once: who is killed between putting a message out and marking it leaves it to be shown again; a claim made
 * before would lose it instead, and a message twice is better than a message never.
 */
import { join } from "node:path";
import { FileLock } from "../../shared/host/mod.ts";
import type { Positioned } from "./message_row.ts";
import type { HomeParts } from "../home_parts.ts";

/** @returns Whether there was anything. What `put` throws ends it, and leaves what it threw at unshown. */
export async function show(
  { directory, shown }: Pick<HomeParts, "directory" | "shown">,
  put: (event: Positioned["event"]) => void,
): Promise<boolean> {
  if (shown.unshown(1).length === 0) return false;
  const lock = await claim(join(directory, LOCK_FILE));
  try {
    let any = false;
    for (let page = shown.unshown(PAGE); page.length > 0; page = shown.unshown(PAGE)) {
      for (const { event, position } of page) {
        // Only without the lock can another process have been quicker.
        if (shown.upTo() >= position) continue;
        put(event);
        shown.mark(position);
        any = true;
      }
    }
    return any;
  } finally {
    lock?.release();
  }
}

/** `undefined` where another process has been putting something out for so long that its reader must be asleep. */
async function claim(path: string): Promise<FileLock | undefined> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await FileLock.acquire(path, { pollMs: 10, signal });
  } catch (error) {
    if (!signal.aborted) throw error;
    return undefined;
  }
}

const LOCK_FILE = "show.lock";
const PAGE = 100;
const PATIENCE_MS = 2_000;
