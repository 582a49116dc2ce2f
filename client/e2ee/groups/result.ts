/** What taking a row comes to. */
import type { Taken, Warning } from "../engine.ts";
import type { Next } from "./conversation.ts";

/** A row's meaning, and what the conversation becomes by it. */
export interface Result {
  readonly taken: Taken;
  readonly next: Next;
  /** A commit that counts: the rolling hash begins anew with it, so that whoever came in by it knows all of it. */
  readonly begins?: boolean;
}

export function nothing(warnings: readonly Warning[] = []): Taken {
  return { kind: "nothing", warnings };
}

/** Something must come first; the row is offered again then. */
export function wait(ready: Promise<void>, reason: string): Result {
  return { taken: { kind: "wait", ready, reason }, next: {} };
}

export function refused(reason: string): Result {
  return { taken: { kind: "refused", reason, retryable: false, warnings: [] }, next: {} };
}
