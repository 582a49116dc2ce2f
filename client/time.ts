/** How a moment is written wherever people or programs read it. */

/** RFC 3339, UTC, milliseconds. */
export function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
