/** Time as the transport sees it: integer microseconds that never go back. */
export interface Clock {
  nowUs(): number;
}

/** Monotonic microseconds since the process started. */
export const monotonicClock: Clock = { nowUs: () => Math.round(performance.now() * 1000) };
