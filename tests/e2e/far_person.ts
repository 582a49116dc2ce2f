/**
 * A real client on a thread of its own: opening messages takes milliseconds of RSA each, and people who talk in earnest do not
 * share one processor with each other and with the network between them.
 *
 * This file is both ends: the thread's when it is a thread's, else the test's.
 */
import type { ChatClient, ChatEvent, MessageEvent, OpenOptions, SentMessage } from "../../client/mod.ts";
import type { ChannelStats } from "../../shared/net/mod.ts";
import { Ears, listen, openClient } from "./people.ts";

/** What can be asked of a client over there. */
interface Calls {
  open(options: OpenOptions): Promise<void>;
  send(to: string, text: string): Promise<SentMessage>;
  history(name: string, limit: number): Promise<MessageEvent[]>;
  now(): Promise<{ readonly connectedTo: string; readonly stats: ChannelStats }>;
  close(): Promise<void>;
}

type Call = { readonly id: number; readonly method: keyof Calls; readonly args: unknown[] };
type Answer =
  | { readonly event: ChatEvent }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: unknown };

export class FarPerson extends Ears {
  readonly #worker = new Worker(new URL(import.meta.url), { type: "module", name: THREAD_NAME });
  readonly #calls = new Map<number, PromiseWithResolvers<unknown>>();
  #nextId = 1;

  private constructor(name: string) {
    super(name);
    this.#worker.onmessage = ({ data }: { readonly data: Answer }) => this.#receive(data);
  }

  /** Signs up where the name is new, else logs in. */
  static async open(options: OpenOptions & { readonly name: string }): Promise<FarPerson> {
    const person = new FarPerson(options.name);
    try {
      await person.#call("open", options);
      return person;
    } catch (error) {
      person.#worker.terminate();
      throw error;
    }
  }

  send(to: string, text: string): Promise<SentMessage> {
    return this.#call("send", to, text);
  }

  history(name: string, limit: number): Promise<MessageEvent[]> {
    return this.#call("history", name, limit);
  }

  now(): ReturnType<Calls["now"]> {
    return this.#call("now");
  }

  async close(): Promise<void> {
    await this.#call("close");
    this.#worker.terminate();
  }

  #call<M extends keyof Calls>(method: M, ...args: Parameters<Calls[M]>): ReturnType<Calls[M]> {
    const id = this.#nextId++, waiting = Promise.withResolvers<unknown>();
    this.#calls.set(id, waiting);
    this.#worker.postMessage({ id, method, args } satisfies Call);
    return waiting.promise as ReturnType<Calls[M]>;
  }

  #receive(answer: Answer): void {
    if ("event" in answer) return this.hear(answer.event);
    const waiting = this.#calls.get(answer.id)!;
    this.#calls.delete(answer.id);
    if ("error" in answer) waiting.reject(answer.error);
    else waiting.resolve(answer.value);
  }
}

/** The far end: one client, told what to do. */
function serve(scope: Scope): void {
  let client: ChatClient, listening: Promise<void>;
  const calls: Calls = {
    async open(options) {
      client = await openClient(options);
      listening = listen(client, (event) => scope.postMessage({ event }));
    },
    send: (to, text) => client.send(to, text),
    history: (name, limit) => Promise.resolve(client.history(name, limit)),
    now: () => Promise.resolve({ connectedTo: client.connectedTo, stats: { ...client.stats } }),
    async close() {
      await client.close();
      await listening;
    },
  };
  scope.onmessage = async ({ data: { id, method, args } }) => {
    try {
      const value = await (calls[method] as (...args: unknown[]) => Promise<unknown>)(...args);
      scope.postMessage({ id, value });
    } catch (error) {
      scope.postMessage({ id, error });
    }
  };
}

/** What a thread's global scope has, which the types of the main one lack. */
interface Scope {
  readonly name: string;
  onmessage: (message: { readonly data: Call }) => void;
  postMessage(answer: Answer): void;
}

const THREAD_NAME = "far person";
const scope = globalThis as unknown as Scope;
if (scope.name === THREAD_NAME) serve(scope);
