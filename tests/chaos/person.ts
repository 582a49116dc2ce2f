/** The harness's side of a person: starts, kills and starts the process again, remembers what it was told and what it told. */
import { fileURLToPath } from "node:url";
import { lines, TEST_ENV } from "../e2e/harness.ts";
import type { Line } from "./plan.ts";
import type { Order, Report } from "./person_main.ts";

export interface PersonOptions {
  readonly name: string;
  readonly home: string;
  readonly server: string;
  /** Before a line is handed over for the first time. */
  onTyped(line: Line): void;
  onReport(person: Person, report: Report): void;
  /** The process ended though nobody killed it. */
  onDeath(what: string): void;
}

export class Person {
  readonly name: string;
  /** Which process this is, from 1. */
  life = 0;
  /** The cluster's port it is connected to; `undefined` while it is not. */
  connectedTo: string | undefined;
  readonly #options: PersonOptions;
  /** Typed, and not known to be in the home yet. */
  readonly #uncertain = new Map<string, Line>();
  /** Typed, and not known to be stored yet. */
  readonly #waiting = new Set<string>();
  #child: Deno.ChildProcess | undefined;
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #output: Promise<unknown> = Promise.resolve();
  #isOpen = false;
  #asked = false;

  constructor(options: PersonOptions) {
    this.#options = options;
    this.name = options.name;
  }

  get isAlive(): boolean {
    return this.#child !== undefined;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** How many messages are on their way. */
  get waiting(): number {
    return this.#waiting.size;
  }

  get hasUncertain(): boolean {
    return this.#uncertain.size > 0;
  }

  start(): void {
    const { name, home, server } = this.#options;
    const child = this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--frozen", "-A", "--no-check", MAIN, home, server, name],
      env: TEST_ENV,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.life++;
    this.#asked = false;
    this.#writer = child.stdin.getWriter();
    const said = new Response(child.stderr).text();
    const reading = this.#read(child.stdout);
    this.#output = Promise.all([said, reading]);
    this.#order({ type: "begin", uncertain: [...this.#uncertain.values()].map(({ key, to }) => ({ key, to })) });
    void child.status.then(async ({ code, signal }) => {
      if (this.#asked) return;
      await reading;
      this.#gone();
      this.#options.onDeath(`${name} ended by itself: ${signal ?? code}, ${(await said).slice(-1000)}`);
    });
  }

  /** Types a line. Call it only while the person {@linkcode isOpen}. */
  say(line: Line): void {
    this.#options.onTyped(line);
    this.#uncertain.set(line.key, line);
    this.#waiting.add(line.key);
    this.#type(line);
  }

  /** It is stored, says somebody. */
  stored(key: string): void {
    this.#waiting.delete(key);
    this.#uncertain.delete(key);
  }

  /** Resolves when everything it had said by then was read. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#asked = true;
    this.#gone();
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
    await child.status;
    await this.#output;
  }

  /** Asks for what it has of its conversations; resolves when it has ended. */
  async finish(peers: readonly string[]): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#asked = true;
    this.#order({ type: "finish", peers });
    await child.status;
    await this.#output;
    this.#gone();
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const life = this.life;
    for await (const line of lines(stream)) {
      // A kill may cut the last line short.
      const report = parse(line);
      if (report === undefined) continue;
      this.#note(report, life);
      this.#options.onReport(this, report);
    }
  }

  #note(report: Report, life: number): void {
    const isNow = life === this.life && this.#child !== undefined;
    switch (report.type) {
      case "holds":
        for (const key of report.keys) this.#uncertain.delete(key);
        return;
      case "open":
        if (!isNow) return;
        this.#isOpen = true;
        // What was not in the home when the process died is typed again, in the old order.
        for (const line of this.#uncertain.values()) this.#type(line);
        return;
      case "taken":
        this.#uncertain.delete(report.key);
        return;
      case "acknowledged":
        return this.stored(report.key);
      case "connected":
        if (isNow) this.connectedTo = report.server;
        return;
      case "disconnected":
        if (isNow) this.connectedTo = undefined;
    }
  }

  #type({ to, key, text }: Line): void {
    this.#order({ type: "say", to, key, text });
  }

  #order(order: Order): void {
    // A process that is gone by now hears nothing, and what it was told is uncertain.
    this.#writer?.write(new TextEncoder().encode(JSON.stringify(order) + "\n")).catch(() => {});
  }

  #gone(): void {
    this.#child = undefined;
    this.#writer = undefined;
    this.#isOpen = false;
    this.connectedTo = undefined;
  }
}

function parse(line: string): Report | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

const MAIN = fileURLToPath(new URL("./person_main.ts", import.meta.url));
