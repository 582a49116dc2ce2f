/** Processes that append without end (store_main.ts), and what they printed. */
import { fileURLToPath } from "node:url";
import type { ConversationId } from "../../shared/protocol/mod.ts";

export interface Stored {
  readonly stored: string;
  readonly conversation: ConversationId;
  readonly seq: number;
}

/** A process that appends, and what it printed. */
export class StoreProcess {
  readonly stored: Stored[] = [];
  readonly violations: string[] = [];
  role: string | undefined;
  final: { role: string; leadership: number } | undefined;
  gaps = 0;
  killed = false;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: Promise<void>;
  #waiting: { readonly met: () => boolean; readonly done: PromiseWithResolvers<void> }[] = [];
  #ended: Promise<void> | undefined;

  constructor(dataDir: string, number: number) {
    const main = fileURLToPath(new URL("./store_main.ts", import.meta.url));
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--frozen", "-A", "--no-check", main, dataDir, String(number)],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#read();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Resolves when `met` holds; rejects when the process has ended before. */
  async until(met: () => boolean): Promise<void> {
    if (met()) return;
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ met, done });
    await done.promise;
  }

  /** Resolves once that many more appends were acknowledged. */
  more(count: number): Promise<void> {
    const wanted = this.stored.length + count;
    return this.until(() => this.stored.length >= wanted);
  }

  async kill(): Promise<void> {
    this.killed = true;
    this.#child.kill("SIGKILL");
    await this.end();
  }

  /** As a debugger or a machine that swaps does it: it keeps its locks and answers nobody. */
  halt(): void {
    this.#child.kill("SIGSTOP");
  }

  /** Fine where it has ended, or was never stopped. */
  goOn(): void {
    if (this.#ended === undefined) this.#child.kill("SIGCONT");
  }

  /** No more appends; those under way are finished. */
  async stop(): Promise<void> {
    await this.#input.write(new TextEncoder().encode("stop\n"));
    await this.until(() => this.final !== undefined);
  }

  /** Lets it close, and waits for its end. Repeating it does nothing. */
  end(): Promise<void> {
    return this.#ended ??= (async () => {
      await this.#input.close().catch(() => {});
      await this.#output;
      await this.#child.status;
    })();
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#line(JSON.parse(line));
      const waiting = this.#waiting;
      this.#waiting = waiting.filter(({ met }) => !met());
      for (const { met, done } of waiting) if (met()) done.resolve();
    }
    for (const { done } of this.#waiting) done.reject(new Error("The process has ended"));
  }

  #line(line: { [key: string]: unknown }): void {
    if ("stored" in line) this.stored.push(line as unknown as Stored);
    else if ("violation" in line) this.violations.push(String(line["violation"]));
    else if ("gap" in line) this.gaps++;
    else if ("done" in line) this.final = { role: String(line["role"]), leadership: Number(line["leadership"]) };
    else this.role = String(line["role"]);
  }
}
