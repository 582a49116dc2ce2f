/** Runs seeds in a thread of its own: says "ready", then takes batches and tells how each went. */
import { runSeed } from "./run_seed.ts";

export interface Batch {
  readonly first: number;
  readonly count: number;
}

export interface Outcome {
  readonly done: number;
  readonly datagrams: number;
  readonly virtualUs: number;
  readonly failed?: { readonly seed: number; readonly text: string };
}

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Batch>) => void;
  postMessage(o: Outcome | "ready"): void;
};

scope.onmessage = ({ data: { first, count } }) => {
  let done = 0, datagrams = 0, virtualUs = 0;
  for (; done < count; done++) {
    try {
      const result = runSeed(first + done);
      datagrams += result.datagrams;
      virtualUs += result.virtualUs;
    } catch (error) {
      const failed = { seed: first + done, text: textOf(error) };
      return scope.postMessage({ done, datagrams, virtualUs, failed });
    }
  }
  scope.postMessage({ done, datagrams, virtualUs });
};

function textOf(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error ? `${message}\n${cause.stack}` : String((error as Error).stack);
}

// What is sent before the handler stands would be lost: the modules above take a while to load.
scope.postMessage("ready");
