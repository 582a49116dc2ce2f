/**
 * Checkpoints on a thread of their own: writing the WAL back into the database takes tens of milliseconds, in which no message
 * would be stored and no packet answered. It has a connection of its own; SQLite lets it work beside the writer.
 *
 * One job at a time comes in as a {@linkcode CheckpointJob}, one {@linkcode CheckpointAnswer} goes back for each.
 */
import { DatabaseSync } from "node:sqlite";

export type CheckpointJob =
  | { readonly kind: "open"; readonly path: string }
  | { readonly kind: "checkpoint" }
  /** Before the writer closes, which is then the last one and removes the WAL. */
  | { readonly kind: "close" };

export type CheckpointAnswer = CheckpointResult | { readonly done: true } | { readonly error: string };

export interface CheckpointResult {
  /** Pages in the WAL. */
  readonly pages: number;
  /** Those of them that are in the database file now. */
  readonly written: number;
}

/** Writes back what no reader needs any more in the WAL; waits for nobody. */
export function checkpoint(database: DatabaseSync): CheckpointResult {
  const row = database.prepare("PRAGMA wal_checkpoint(PASSIVE)").get()!;
  // Both are -1 where there is no WAL.
  return { pages: Math.max(0, row["log"] as number), written: Math.max(0, row["checkpointed"] as number) };
}

/** What a Worker's global scope has beyond the main thread's types. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<CheckpointJob>) => void) | null;
  postMessage(answer: CheckpointAnswer): void;
}

class Thread {
  #database: DatabaseSync | undefined;

  perform(job: CheckpointJob): CheckpointAnswer {
    try {
      switch (job.kind) {
        case "open":
          this.#database = new DatabaseSync(job.path);
          this.#database.exec("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL; PRAGMA cache_size = -64");
          if (Deno.build.os === "darwin") this.#database.exec("PRAGMA checkpoint_fullfsync = ON");
          return { done: true };
        case "checkpoint":
          return checkpoint(this.#database!);
        case "close":
          this.#database?.close();
          return { done: true };
      }
    } catch (error) {
      return { error: (error as Error).message };
    }
  }
}

// Imported on the main thread (for its types, or by a test) this file must not listen.
if (typeof (globalThis as { WorkerGlobalScope?: unknown }).WorkerGlobalScope === "function") {
  const scope = globalThis as unknown as WorkerScope, thread = new Thread();
  scope.onmessage = (event) => scope.postMessage(thread.perform(event.data));
}
