/** A bench's server in a process of its own, which says where it listens in its first line and may say more later. */
import { fileURLToPath } from "node:url";
import type { Contact } from "./peer.ts";

export class ServerProcess {
  readonly pid: number;
  contact!: Contact;
  readonly #child: Deno.ChildProcess;
  readonly #output: ReadableStreamDefaultReader<string>;
  #rest = "";

  private constructor(child: Deno.ChildProcess) {
    this.pid = child.pid;
    this.#child = child;
    this.#output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** @param program The URL of its main module. */
  static async start(program: string, args: readonly string[]): Promise<ServerProcess> {
    const server = new ServerProcess(
      new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", fileURLToPath(program), ...args],
        stdin: "null",
        stdout: "piped",
      }).spawn(),
    );
    const first = await server.line();
    if (first === undefined) throw new Error(`Cannot start ${program}: it ended at once`);
    server.contact = JSON.parse(first);
    return server;
  }

  /** What it says next; `undefined` once it has ended. */
  async line(): Promise<string | undefined> {
    while (!this.#rest.includes("\n")) {
      const { value } = await this.#output.read();
      if (value === undefined) return undefined;
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }

  async stop(): Promise<void> {
    await this.#output.cancel();
    this.#child.kill("SIGINT");
    await this.#child.status;
  }
}
