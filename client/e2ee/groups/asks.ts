/**
 * Who waits to be let in, as the server tells it. Members who are online answer in turns (SECURITY M5); whoever is about to send
 * answers what waits there first.
 */
import { sha256 } from "../../../shared/crypto/mod.ts";
import type { Ask, ConversationId, DeviceId } from "../../../shared/protocol/mod.ts";
import type { Context } from "./context.ts";

export class Asks {
  readonly #context: Context;
  readonly #waiting = new Map<ConversationId, Map<DeviceId, Ask>>();
  readonly #timers = new Set<() => void>();
  #closed = false;

  constructor(context: Context) {
    this.#context = context;
  }

  in(id: ConversationId): Ask[] {
    return [...this.#waiting.get(id)?.values() ?? []];
  }

  /** Reads all that waits. @throws ConnectionLostError */
  async load(): Promise<Ask[]> {
    const found: Ask[] = [];
    let after: { conversation: ConversationId; device: DeviceId } | undefined;
    for (;;) {
      const { asks, more } = await this.#context.options.ask<"asks">({ type: "asks", conversation: undefined, after });
      for (const ask of asks) if (this.#add(ask)) found.push(ask);
      const last = asks.at(-1);
      if (!more || last === undefined) return found;
      after = { conversation: last.conversation, device: last.device };
    }
  }

  /**
   * Somebody asks. Calls back when it is this device's turn, unless it was granted meanwhile.
   *
   * @param members Devices that may answer: the more there are, the longer a turn may take.
   */
  heard(ask: Ask, members: number, turnMs: (request: Uint8Array, withinMs: number) => number, run: () => void): void {
    if (!this.#add(ask)) return;
    const request = sha256(Uint8Array.fromHex(ask.conversation), Uint8Array.fromHex(ask.device));
    const within = Math.min(TURN_MS_MAX, TURN_MS_EACH * Math.max(1, members - 1));
    const cancel = this.#context.options.timers.after(turnMs(request, within), () => {
      this.#timers.delete(cancel);
      if (!this.#closed && this.#waiting.get(ask.conversation)?.has(ask.device)) run();
    });
    this.#timers.add(cancel);
  }

  /** It was granted, or never will be. */
  drop(id: ConversationId, device: DeviceId): void {
    this.#waiting.get(id)?.delete(device);
  }

  close(): void {
    this.#closed = true;
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
  }

  #add(ask: Ask): boolean {
    const { self } = this.#context.options;
    if (ask.device === self.keys.id) return false;
    let waiting = this.#waiting.get(ask.conversation);
    if (waiting === undefined) this.#waiting.set(ask.conversation, waiting = new Map());
    if (waiting.size >= WAITING_MAX && !waiting.has(ask.device)) return false;
    waiting.set(ask.device, ask);
    return true;
  }
}

/** What a server makes up takes no more than this. */
const WAITING_MAX = 256;
const TURN_MS_EACH = 500;
const TURN_MS_MAX = 15_000;
