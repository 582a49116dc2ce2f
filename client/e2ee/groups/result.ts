/** What taking a row comes to. */
import type { Taken } from "../engine.ts";
import type { Next } from "./conversation.ts";

/** A row's meaning, and what the conversation becomes by it. */
export interface Result {
  readonly taken: Taken;
  readonly next: Next;
  /** A commit that counts: the rolling hash begins anew with it, so that whoever came in by it knows all of it. */
  readonly begins?: boolean;
}
