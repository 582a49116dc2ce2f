/** Several ways to one end, the next begun beside those before it when they take long: whichever ends well first is taken. */
import { pause } from "../pause.ts";

export interface RaceOptions<T> {
  /** How long the ways before may take until the next is begun; where all have failed it is begun at once. */
  readonly staggerMs: number;
  readonly signal: AbortSignal;
  /** Told of whatever came too late, to end it. */
  discard(late: T): void;
}

/** Every way failed. */
export class AllFailedError extends Error {
  override readonly name = "AllFailedError";

  /** @param errors In the order of the ways. */
  constructor(readonly errors: readonly unknown[]) {
    super("Every way failed");
  }
}

/**
 * @param ways Each ends early when its signal aborts: something else was quicker, or nobody waits any more.
 * @throws AllFailedError, or the signal's reason.
 */
export async function firstOf<T>(
  ways: readonly ((signal: AbortSignal) => Promise<T>)[],
  { staggerMs, signal, discard }: RaceOptions<T>,
): Promise<T> {
  const won = new AbortController(), either = AbortSignal.any([signal, won.signal]);
  const errors: unknown[] = [], running = new Set<Promise<void>>();
  let first: { readonly value: T } | undefined;
  for (const [place, way] of ways.entries()) {
    const run: Promise<void> = way(either).then((value) => {
      if (first === undefined) first = { value };
      else discard(value);
      won.abort();
    }, (error) => {
      errors[place] = error;
    }).finally(() => running.delete(run));
    running.add(run);
    if (place < ways.length - 1) await patience(running, staggerMs, either);
    if (first !== undefined || signal.aborted) break;
  }
  // Those that lost end by themselves, and what they bring is discarded.
  while (first === undefined && running.size > 0) await Promise.race(running);
  if (first !== undefined) return first.value;
  signal.throwIfAborted();
  throw new AllFailedError(errors);
}

/** Resolves after a while, or when nothing runs any more, or when it is over. */
async function patience(running: ReadonlySet<Promise<void>>, ms: number, over: AbortSignal): Promise<void> {
  const done = new AbortController();
  const late = pause(ms, AbortSignal.any([over, done.signal])).catch(() => {});
  await Promise.race([late, Promise.all(running)]);
  done.abort();
}
