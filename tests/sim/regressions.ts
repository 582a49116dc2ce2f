/**
 * Seeds that failed once, each with what it found. They run with every test run.
 *
 * A seed's life changes whenever the simulator learns to draw something new, so it proves most on the day it is added: what was
 * mended has a unit test as well.
 */
export interface Regression {
  readonly seed: number;
  readonly found: string;
}

export const REGRESSIONS: readonly Regression[] = [
  {
    seed: 922,
    found: "a closed connection was kept for minutes, because one late acknowledgement had made the probe timeout 94 s",
  },
  {
    seed: 1470932858,
    found: "the simulator itself wanted silence sooner than a client that moved can be found again",
  },
  {
    seed: 1663618777,
    found:
      "PINGs are too short to be answered by a reset: a client learnt after a minute that its server had forgotten it",
  },
  {
    seed: 855866162,
    found: "the simulator itself wanted megabytes through a window of a few kilobytes sooner than that can be",
  },
  {
    seed: 1002988,
    found: "a stream kept bytes that were acknowledged, where a piece was sent again in another cut: it never ended",
  },
];
