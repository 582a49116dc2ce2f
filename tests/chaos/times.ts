/** How long people wait when something dies. PURE: fed with what happened and when (ms of the wall clock). */

/** A leader was killed. */
export interface Takeover {
  readonly killedMs: number;
  /** When the signal was sent for certain: what was handed in before may have been stored by the one that died. */
  readonly goneMs: number;
  /** How many people were connected to other servers then: nobody else can notice before they have found one. */
  readonly connected: number;
  /** From the kill until a sender hears first that a message is stored that was handed in later. */
  heardMs?: number;
  /** Of that, until a server got the message: so long nobody had asked anything. */
  askedMs?: number;
}

/** Somebody's server was killed. */
export interface Reconnect {
  /** From the kill until another one serves them. */
  readonly ms: number;
  /** More than their server died before they were served, or there was no other. */
  readonly isDisturbed: boolean;
}

export class Times {
  readonly takeovers: Takeover[] = [];
  readonly reconnects: Reconnect[] = [];
  /** A client's process began → it is connected. */
  readonly clientStartMs: number[] = [];
  /** A balancer's process began → every server answers. */
  readonly balancerStartMs: number[] = [];
  /** How late this process's own timers were: so long a busy machine makes every process wait, again and again. */
  readonly lateMs: number[] = [];
  readonly #cutOff = new Map<string, { readonly killedMs: number; isDisturbed: boolean }>();
  readonly #starting = new Map<string, number>();

  leaderKilled(takeover: Takeover): void {
    this.takeovers.push(takeover);
  }

  /**
   * @param clients Those that were connected to it.
   * @param others How many other servers served then.
   */
  serverKilled(clients: readonly string[], others: number, killedMs: number): void {
    for (const waiting of this.#cutOff.values()) waiting.isDisturbed = true;
    for (const name of clients) {
      if (!this.#cutOff.has(name)) this.#cutOff.set(name, { killedMs, isDisturbed: others === 0 });
    }
  }

  clientStarted(name: string, atMs: number): void {
    this.#starting.set(name, atMs);
  }

  /** Whatever it waited for, it does not any more. */
  clientKilled(name: string): void {
    this.#cutOff.delete(name);
    this.#starting.delete(name);
  }

  /** @returns What took how long, in words, where anything was waited for. */
  connected(name: string, atMs: number): string | undefined {
    const cutOff = this.#cutOff.get(name), startedMs = this.#starting.get(name);
    // What it told before it could know of the kill was still on its way to us.
    if (cutOff !== undefined && atMs >= cutOff.killedMs) {
      const ms = atMs - cutOff.killedMs;
      this.reconnects.push({ ms, isDisturbed: cutOff.isDisturbed });
      this.#cutOff.delete(name);
      return `${name} is served again after ${ms} ms`;
    }
    if (startedMs === undefined) return undefined;
    this.clientStartMs.push(atMs - startedMs);
    this.#starting.delete(name);
    return `${name} is back after ${atMs - startedMs} ms`;
  }

  /** As {@linkcode connected}. @param storedMs When the server that took it got it. @param atMs When its sender heard that it is stored. */
  acknowledged(storedMs: number, atMs: number): string | undefined {
    const words: string[] = [];
    for (const takeover of this.takeovers.toReversed()) {
      const { killedMs, goneMs } = takeover;
      if (takeover.heardMs !== undefined || storedMs <= goneMs) continue;
      takeover.heardMs = atMs - killedMs;
      takeover.askedMs = storedMs - killedMs;
      words.push(`the store goes on after ${takeover.heardMs} ms`);
    }
    return words.join(", ") || undefined;
  }
}
