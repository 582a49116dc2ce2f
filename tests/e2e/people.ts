/** People in this process for the end-to-end tests: real clients with homes on disk, who remember everything they hear. */
import {
  ChatClient,
  type ChatEvent,
  type ConnectionEvent,
  type MessageEvent,
  type OpenOptions,
  type RefusedEvent,
} from "../../client/mod.ts";
import { PASSWORD, TEST_ENV } from "./harness.ts";

export class Person {
  readonly messages: MessageEvent[] = [];
  readonly refused: RefusedEvent[] = [];
  readonly connections: ConnectionEvent[] = [];
  readonly notices: string[] = [];
  readonly #listening: Promise<void>;
  #waiting: (() => void)[] = [];

  private constructor(readonly client: ChatClient) {
    this.#listening = this.#listen();
  }

  /** Signs up where the name is new, else logs in; with the tests' cheap stretching. */
  static async open(options: OpenOptions): Promise<Person> {
    const client = await withTestStretching(() =>
      ChatClient.open({ password: PASSWORD, register: true, timeoutMs: 30_000, ...options })
    );
    return new Person(client);
  }

  get name(): string {
    return this.client.name;
  }

  /** Texts heard from somebody, in the order they were heard. */
  from(name: string): string[] {
    return this.messages.filter((message) => message.from === name).map(({ text }) => text);
  }

  /** Resolves once `met` holds; looks again at everything that happens. */
  async until(met: () => boolean, what: string, seconds = 20): Promise<void> {
    const deadline = AbortSignal.timeout(seconds * 1000);
    while (!met()) {
      await new Promise<void>((resolve, reject) => {
        const fail = () => reject(new Error(`${this.name}: not within ${seconds} s: ${what}. ${this.#seen()}`));
        if (deadline.aborted) return fail();
        deadline.addEventListener("abort", fail, { once: true });
        this.#waiting.push(() => {
          deadline.removeEventListener("abort", fail);
          resolve();
        });
      });
    }
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.#listening;
  }

  /** What may explain that something did not come. */
  #seen(): string {
    const refused = this.refused.map(({ seq, claimedFrom, reason }) => `${claimedFrom} at ${seq}: ${reason}`);
    const connections = this.connections.map(({ state, server, reason }) => reason ?? `${state} ${server}`);
    return JSON.stringify({ heard: this.messages.length, refused, notices: this.notices, connections });
  }

  #hear(event: ChatEvent): void {
    if (event.type === "message") this.messages.push(event);
    else if (event.type === "refused") this.refused.push(event);
    else if (event.type === "connection") this.connections.push(event);
    else this.notices.push(event.text);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #listen(): Promise<void> {
    // What came while this person was opening is in the history, and new all the same.
    const waiting = this.client.unshown(UNSHOWN_MAX);
    const events = this.client.events({ own: true });
    for (const { event } of waiting) this.#hear(event);
    for await (const event of events) this.#hear(event);
  }
}

let openings = 0;

/** Lets clients in this process stretch as cheaply as those the harness starts; only for as long as it takes. */
export async function withTestStretching<T>(run: () => Promise<T>): Promise<T> {
  if (openings++ === 0) Deno.env.set(COST, TEST_ENV[COST]!);
  try {
    return await run();
  } finally {
    if (--openings === 0) Deno.env.delete(COST);
  }
}

const UNSHOWN_MAX = 10_000;
const COST = "FASTCHAT_TEST_ONLY_SCRYPT_LOG2N";
