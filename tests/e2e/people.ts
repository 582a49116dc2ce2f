/** People in this process for the end-to-end tests: real clients with homes on disk, who remember everything they hear. */
import {
  ChatClient,
  type ChatEvent,
  type ConnectionEvent,
  type MessageEvent,
  type OpenOptions,
  type RefusedEvent,
} from "../../client/mod.ts";
import { PASSWORD } from "./harness.ts";

/** Everything that somebody has heard. */
export class Ears {
  readonly messages: MessageEvent[] = [];
  readonly refused: RefusedEvent[] = [];
  readonly connections: ConnectionEvent[] = [];
  readonly notices: string[] = [];
  #waiting: (() => void)[] = [];

  constructor(readonly name: string) {}

  hear(event: ChatEvent): void {
    if (event.type === "message") this.messages.push(event);
    else if (event.type === "refused") this.refused.push(event);
    else if (event.type === "connection") this.connections.push(event);
    else if (event.type === "notice") this.notices.push(event.text);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Texts heard from somebody, in the order they were heard. */
  from(name: string): string[] {
    return this.messages.filter((message) => message.from === name).map(({ text }) => text);
  }

  /** Resolves once `met` holds; looks again at everything that happens. */
  async until(met: () => boolean, what: string, seconds = 60): Promise<void> {
    const deadline = AbortSignal.timeout(seconds * 1000);
    while (!met()) {
      await new Promise<void>((resolve, reject) => {
        const fail = () => reject(new Error(`${this.name}: not within ${seconds} s: ${what}. ${this.#summary()}`));
        if (deadline.aborted) return fail();
        deadline.addEventListener("abort", fail, { once: true });
        this.#waiting.push(() => {
          deadline.removeEventListener("abort", fail);
          resolve();
        });
      });
    }
  }

  /** What may explain that something did not come. */
  #summary(): string {
    const refused = this.refused.map(({ seq, claimedFrom, reason }) => `${claimedFrom} at ${seq}: ${reason}`);
    const connections = this.connections.map(({ state, server, reason }) => reason ?? `${state} ${server}`);
    return JSON.stringify({ heard: this.messages.length, refused, notices: this.notices, connections });
  }
}

/** A real client in this process. */
export class Person extends Ears {
  readonly #listening: Promise<void>;

  private constructor(readonly client: ChatClient) {
    super(client.name);
    this.#listening = listen(client, (event) => this.hear(event));
  }

  /** Signs up where the name is new, else logs in. */
  static async open(options: OpenOptions): Promise<Person> {
    return new Person(await openClient(options));
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.#listening;
  }
}

/** Signs up where the name is new, else logs in. */
export function openClient(options: OpenOptions): Promise<ChatClient> {
  return ChatClient.open({ password: PASSWORD, register: true, timeoutMs: 60_000, ...options });
}

/** Everything a client hears until it is closed, and what came while it was opening. */
export async function listen(client: ChatClient, hear: (event: ChatEvent) => void): Promise<void> {
  const waiting = client.unshown(UNSHOWN_MAX);
  const events = client.events({ own: true });
  for (const { event } of waiting) hear(event);
  for await (const event of events) hear(event);
}

const UNSHOWN_MAX = 10_000;
