/**
 * How long to wait until the lock and the leader's socket are tried again.
 *
 * A killed process's connections end a moment before its lock does, and whoever takes it needs some ten milliseconds until the
 * others can come: all that time every request waits, and an attempt costs 50 µs. Who waits for longer waits for something else.
 *
 * @param sinceMs How long there has been no leader.
 */
export function retryMs(sinceMs: number): number {
  return sinceMs < SOON_MS ? Math.min(SOON_PAUSE_MS, Math.max(FIRST_PAUSE_MS, sinceMs)) : PAUSE_MS;
}

const FIRST_PAUSE_MS = 2;
const SOON_PAUSE_MS = 5;
const SOON_MS = 1_000;
const PAUSE_MS = 50;
