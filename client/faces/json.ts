/** One JSON object a line, for scripts. The fields are the events' own (client/events.ts). */
import type { Delivery } from "../talk/acks.ts";
import type { ChatEvent } from "../events.ts";

export function eventJson(event: ChatEvent): string {
  return JSON.stringify(event);
}

/** The event with the number of times it was handed out: above 1 a script may have seen it before. */
export function deliveryJson({ event, attempt }: Delivery): string {
  return JSON.stringify({ ...event, delivery: attempt });
}
