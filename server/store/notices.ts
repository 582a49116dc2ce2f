/** What the operations of one transaction have to tell once it is committed, in order. */
import type { CommitListener, Committed, DevicesChanged, SessionsEnded } from "../bus/bus.ts";

export class Notices {
  readonly #items: (Committed | DevicesChanged | SessionsEnded)[] = [];

  committed(item: Committed): void {
    this.#items.push(item);
  }

  devicesChanged(change: DevicesChanged): void {
    this.#items.push(change);
  }

  sessionsEnded(ended: SessionsEnded): void {
    this.#items.push(ended);
  }

  /** Where we are, for {@linkcode rewind}. */
  mark(): number {
    return this.#items.length;
  }

  /** Forgets what came behind the mark: its change was undone. */
  rewind(mark: number): void {
    this.#items.length = mark;
  }

  /** Records that follow one another go out together. */
  publish(listener: CommitListener): void {
    let records: Committed[] = [];
    for (const item of this.#items) {
      if ("record" in item) {
        records.push(item);
        continue;
      }
      if (records.length > 0) listener.committed(records);
      records = [];
      if ("generation" in item) listener.sessionsEnded(item);
      else listener.devicesChanged(item);
    }
    if (records.length > 0) listener.committed(records);
  }
}
