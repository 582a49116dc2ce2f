/** Waiting that ends early when it is no longer wanted. */

/**
 * Resolves after `ms`.
 *
 * @throws The signal's reason once it is aborted.
 */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** A duration somewhere in its upper half: many clients that lost one server do not come back in step. */
export function jittered(ms: number, random: () => number = Math.random): number {
  return Math.round(ms / 2 + ms / 2 * random());
}
