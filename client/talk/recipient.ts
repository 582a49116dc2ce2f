/** Whom something is for. */
import type { OutboxRow } from "./outbox.ts";

/** A person, or a group. */
export type Recipient = Pick<OutboxRow, "peer" | "target">;

/** The same for the same, and another for any other. */
export function keyOf({ peer, target }: Recipient): string {
  return target ?? `@${peer}`;
}
