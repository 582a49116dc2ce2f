/** The lock on what a home's account goes by: two programs that signed up or changed the password at once would each think that theirs counts. */
import { join } from "node:path";
import { FileLock } from "../../shared/host/mod.ts";
import { TimedOutError } from "../errors.ts";

export interface LoginLockOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** What another program has been doing, where it does not end. */
  readonly doing: string;
}

/**
 * Waits until nobody else signs up, logs in for the first time or changes the password here.
 *
 * @param home The directory.
 * @throws TimedOutError, or the signal's reason.
 */
export async function lockLogin(home: string, { timeoutMs, signal, doing }: LoginLockOptions): Promise<FileLock> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([deadline, ...(signal ? [signal] : [])]);
  try {
    return await FileLock.acquire(join(home, LOGIN_LOCK_FILE), { signal: either });
  } catch (error) {
    if (!deadline.aborted) throw error;
    throw new TimedOutError(`Another program has been ${doing} for ${timeoutMs / 1000} s`);
  }
}

/** In the home's directory. */
export const LOGIN_LOCK_FILE = "login.lock";
