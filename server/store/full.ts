/** How SQLite says that there is no room, or that a file is not what it should be. */

/** Deno's SQLite errors carry no number, only SQLite's fixed English text (`sqlite3ErrStr`). */
export function isDamage(error: unknown): boolean {
  return error instanceof Error && /file is not a database|database disk image is malformed/.test(error.message);
}

/** As {@linkcode isDamage}. */
export function isFailureOfTheDisk(error: unknown): boolean {
  return error instanceof Error && /database or disk is full|disk I\/O error/.test(error.message);
}
