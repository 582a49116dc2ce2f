/** How SQLite says that there is no room. */

/** Deno's SQLite errors carry no number, only SQLite's fixed English text (`sqlite3ErrStr`). */
export function isFailureOfTheDisk(error: unknown): boolean {
  return error instanceof Error && /database or disk is full|disk I\/O error/.test(error.message);
}
