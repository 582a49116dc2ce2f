/** One JSON object a line, for scripts. The fields are the events' own (client/events.ts). */
import type { ChatEvent } from "../events.ts";

export function eventJson(event: ChatEvent): string {
  return JSON.stringify(event);
}
