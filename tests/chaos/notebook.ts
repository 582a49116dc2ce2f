/** Writes the evidence down while it comes. */
import type { Acknowledged, Evidence, Kept, Marked, Shown, StoredLog, Typed } from "./evidence.ts";
import { hashOf, type Report } from "./person_main.ts";
import type { Line } from "./plan.ts";

export class Notebook {
  readonly typed: Typed[] = [];
  readonly acknowledged: Acknowledged[] = [];
  readonly shown: Shown[] = [];
  readonly marked: Marked[] = [];
  readonly kept: Kept[] = [];
  readonly complaints: string[] = [];
  readonly deaths: string[] = [];
  readonly #stored = new Set<string>();
  readonly #shown = new Set<string>();

  /** Different messages known to be stored. */
  get storedCount(): number {
    return this.#stored.size;
  }

  /** Different messages shown. */
  get shownCount(): number {
    return this.#shown.size;
  }

  type({ key, from, to, n, text }: Line): void {
    this.typed.push({ key, from, to, n, hash: hashOf(text) });
  }

  note(by: string, life: number, report: Report): void {
    switch (report.type) {
      case "acknowledged": {
        const { key, id, conversation, seq } = report;
        this.#stored.add(key);
        this.acknowledged.push({ by, key, id, conversation, seq });
        return;
      }
      case "shown": {
        const { position, key, hash, id, conversation, seq } = report;
        this.#stored.add(key);
        this.#shown.add(key);
        this.shown.push({ by, life, position, key, hash, id, conversation, seq });
        return;
      }
      case "marked":
        this.marked.push({ by, life, position: report.position });
        return;
      case "kept":
        this.kept.push({ by, conversation: report.conversation, rows: report.rows });
        return;
      case "complaint":
        this.complaints.push(`${by}: ${report.text}`);
    }
  }

  evidence(stored: readonly StoredLog[]): Evidence {
    const { typed, acknowledged, shown, marked, kept, complaints, deaths } = this;
    return { typed, acknowledged, shown, marked, kept, stored, complaints, deaths };
  }
}
