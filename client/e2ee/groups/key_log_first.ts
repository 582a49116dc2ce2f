/**
 * What must be read of the key log before a row is judged, so that everybody judges it alike (SECURITY M13). It is asked for once for
 * each row: what the server does not have then, it is judged without.
 */
import type { Record, UserName } from "../../../shared/protocol/mod.ts";
import type { Group } from "../mls/mod.ts";
import type { Context } from "./context.ts";
import type { Loaded } from "./library.ts";
import { type Result, wait } from "./result.ts";

export class KeyLogFirst {
  readonly #context: Context;
  readonly #loaded: Loaded;
  /** Rows for which it was read, and people about whom it is. */
  readonly #rows = new Set<string>();
  readonly #followed = new Set<UserName>();

  constructor(context: Context, loaded: Loaded) {
    this.#context = context;
    this.#loaded = loaded;
  }

  /**
   * For a commit whose author has read so many entries: as many, and about all members.
   *
   * @returns `undefined` where it can be judged.
   */
  commit(group: Group, record: Record, entries: number): Result | undefined {
    const { keyLog } = this.#context.options;
    const names = new Set(this.#loaded.lib.rosterOf(group).members.map(({ user }) => user));
    for (const name of this.#followed) names.delete(name);
    if (names.size > 0) {
      const following = this.#patiently(async () => {
        await keyLog.follow([...names]);
        for (const name of names) this.#followed.add(name);
      });
      return wait(following, FIRST);
    }
    // A commit that names more than there is, is judged by what there is.
    return keyLog.length >= entries ? undefined : this.#row(record, entries);
  }

  /** For a message that names a head which is not in what was read. @returns `undefined` where that was read for it. */
  message(record: Record): Result | undefined {
    return this.#row(record, undefined);
  }

  #row({ conversation, seq }: Record, entries: number | undefined): Result | undefined {
    const row = `${conversation} ${seq}`;
    if (this.#rows.delete(row)) return undefined;
    const reading = this.#patiently(async () => {
      await this.#context.options.keyLog.catchUp(entries);
      if (this.#rows.size >= ROWS_MAX) this.#rows.clear();
      this.#rows.add(row);
    });
    return wait(reading, FIRST);
  }

  /** Never rejects: what failed is tried again after a while, when the row is offered again. */
  async #patiently(read: () => Promise<void>): Promise<void> {
    try {
      await read();
    } catch {
      await this.#context.background.pause(RETRY_MS).catch(() => {});
    }
  }
}

const FIRST = "The log of keys must be read first";
const RETRY_MS = 1_000;
const ROWS_MAX = 1_024;
