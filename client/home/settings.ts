/** What a person has chosen for a home. */
import type { Database } from "./database.ts";

export class Settings {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** Whether others are told what was read here: off until somebody says otherwise. */
  get readReceipts(): boolean {
    return this.#db.meta(READ_RECEIPTS) === "on";
  }

  /** From the next message that is shown on. What was said stays said. */
  set readReceipts(on: boolean) {
    this.#db.transaction(() => this.#db.setMeta(READ_RECEIPTS, on ? "on" : undefined));
  }

  /** Whether others are told that something is being typed here: on until somebody says otherwise. */
  get typing(): boolean {
    return this.#db.meta(TYPING) !== "off";
  }

  set typing(on: boolean) {
    this.#db.transaction(() => this.#db.setMeta(TYPING, on ? undefined : "off"));
  }
}

const TYPING = "typing";
const READ_RECEIPTS = "read-receipts";
