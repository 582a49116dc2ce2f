/** What the operations of one transaction have to tell once it is committed, in order. */
import type { CommitListener, Committed, DevicesChanged, GroupNews } from "../bus/bus.ts";
import type { ReceiptMoved, SessionsEnded } from "../bus/bus.ts";

export class Notices {
  readonly #items: (Committed | ReceiptMoved | DevicesChanged | SessionsEnded | GroupNews)[] = [];

  committed(item: Committed): void {
    this.#items.push(item);
  }

  receipts(item: ReceiptMoved): void {
    this.#items.push(item);
  }

  devicesChanged(change: DevicesChanged): void {
    this.#items.push(change);
  }

  sessionsEnded(ended: SessionsEnded): void {
    this.#items.push(ended);
  }

  groupNews(news: GroupNews): void {
    this.#items.push(news);
  }

  /** Where we are, for {@linkcode rewind}. */
  mark(): number {
    return this.#items.length;
  }

  /** Forgets what came behind the mark: its change was undone. */
  rewind(mark: number): void {
    this.#items.length = mark;
  }

  /** Records go out together, and behind them the receipts, as far as nothing else of the transaction comes between. */
  publish(listener: CommitListener): void {
    let records: Committed[] = [], receipts: ReceiptMoved[] = [];
    const flush = () => {
      if (records.length > 0) listener.committed(records);
      if (receipts.length > 0) listener.receipts(receipts);
      records = [], receipts = [];
    };
    for (const item of this.#items) {
      if ("record" in item) records.push(item);
      else if ("receipt" in item) receipts.push(item);
      else {
        flush();
        if ("type" in item) listener.groupNews(item);
        else if ("generation" in item) listener.sessionsEnded(item);
        else listener.devicesChanged(item);
      }
    }
    flush();
  }
}
