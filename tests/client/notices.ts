/** What a client tells of in tests. */
import type { ChatEvent } from "../../client/mod.ts";

/** The text of the next notice with that code; fails where the client ends before. */
export async function nextNotice(events: AsyncIterableIterator<ChatEvent>, code: string): Promise<string> {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error(`No notice ${code} came`);
    if (value.type === "notice" && value.code === code) return value.text;
  }
}

/** Why the connection ended for good. */
export async function nextClosed(events: AsyncIterableIterator<ChatEvent>): Promise<string> {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error("The connection was not closed");
    if (value.type === "connection" && value.state === "closed") return value.reason ?? "";
  }
}
