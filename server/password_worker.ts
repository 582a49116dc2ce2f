/**
 * bcrypt on a thread of its own: 60 to 250 ms of computing for each hash would stand in the way of every packet.
 *
 * One job at a time comes in as a {@linkcode PasswordJob}, one {@linkcode PasswordAnswer} goes back for each.
 */
import { compareSync, hashSync } from "bcryptjs";

export type PasswordJob =
  | { readonly kind: "hash"; readonly secret: string; readonly cost: number }
  | { readonly kind: "matches"; readonly secret: string; readonly hash: string };

export type PasswordAnswer = { readonly hash: string } | { readonly matches: boolean } | { readonly error: string };

export function perform(job: PasswordJob): PasswordAnswer {
  try {
    if (job.kind === "hash") return { hash: hashSync(job.secret, job.cost) };
    return { matches: compareSync(job.secret, job.hash) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** What a Worker's global scope has beyond the main thread's types. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<PasswordJob>) => void) | null;
  postMessage(answer: PasswordAnswer): void;
}

// Imported on the main thread (for its types, or by a test) this file must not listen.
if (typeof (globalThis as { WorkerGlobalScope?: unknown }).WorkerGlobalScope === "function") {
  const scope = globalThis as unknown as WorkerScope;
  scope.onmessage = (event) => scope.postMessage(perform(event.data));
}
