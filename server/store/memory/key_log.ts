/** The key log in memory (docs/PROTOCOL.md §16). */
import { EMPTY_KEY_LOG, nextKeyLogHead, sha256 } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import type { KeyEntry, KeyLogPage } from "../store.ts";

interface Row {
  readonly user: UserName;
  readonly entry: Uint8Array;
  readonly hash: Uint8Array;
  readonly head: Uint8Array;
}

export class MemoryKeyLog {
  /** The entry with number n is at n - 1. */
  readonly #rows: Row[] = [];

  get length(): number {
    return this.#rows.length;
  }

  add(user: UserName, entry: Uint8Array): void {
    const hash = sha256(entry), head = nextKeyLogHead(this.#headAt(this.length), user, hash);
    this.#rows.push({ user, entry, hash, head });
  }

  page(after: number, limit: number): KeyLogPage {
    const rows = this.#rows.slice(after, after + limit);
    return {
      entries: rows.map(({ user, hash }) => ({ user, hash })),
      head: rows.at(-1)?.head ?? this.#headAt(after),
      length: this.length,
    };
  }

  entries(numbers: readonly number[]): KeyEntry[] {
    return numbers.flatMap((number) => {
      const row = this.#rows[number - 1];
      return row === undefined ? [] : [{ number, entry: row.entry }];
    });
  }

  entriesOf(name: UserName): KeyEntry[] {
    return this.#rows.flatMap(({ user, entry }, at) => user === name ? [{ number: at + 1, entry }] : []);
  }

  newestOf(name: UserName): number {
    return this.#rows.findLastIndex(({ user }) => user === name) + 1;
  }

  countOf(name: UserName): number {
    return this.entriesOf(name).length;
  }

  #headAt(number: number): Uint8Array {
    return this.#rows[number - 1]?.head ?? EMPTY_KEY_LOG;
  }
}
