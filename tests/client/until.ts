/** Waiting in tests with real clients for what no single event tells. */
import assert from "node:assert/strict";
import type { ChatClient } from "../../client/mod.ts";

/** Looks at a home until the condition holds. */
export async function until(chat: ChatClient, condition: () => boolean): Promise<void> {
  for (const ends = performance.now() + PATIENCE_MS; !condition();) {
    assert(performance.now() < ends, `${chat.name} never comes to that: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

const LOOK_MS = 20;
const PATIENCE_MS = 90_000;
