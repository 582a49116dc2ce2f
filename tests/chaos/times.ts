/** How long people wait when something dies. PURE: fed with what happened and when (ms of the wall clock). */

export class Times {
  /** A leader was killed → a message that was handed in later is stored, as its sender hears. */
  readonly takeoverMs: number[] = [];
  /** A server was killed → a client that was connected to it is served by another. */
  readonly reconnectMs: number[] = [];
  /** A client's process began → it is connected. */
  readonly clientStartMs: number[] = [];
  /** A balancer's process began → every server answers. */
  readonly balancerStartMs: number[] = [];
  readonly #leaders: number[] = [];
  readonly #cutOff = new Map<string, number>();
  readonly #starting = new Map<string, number>();

  leaderKilled(atMs: number): void {
    this.#leaders.push(atMs);
  }

  /** @param clients Those that were connected to it. */
  serverKilled(clients: readonly string[], atMs: number): void {
    for (const name of clients) if (!this.#cutOff.has(name)) this.#cutOff.set(name, atMs);
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
    const killedMs = this.#cutOff.get(name), startedMs = this.#starting.get(name);
    // What it told before it could know of the kill was still on its way to us.
    if (killedMs !== undefined && atMs >= killedMs) {
      this.reconnectMs.push(atMs - killedMs);
      this.#cutOff.delete(name);
      return `${name} is served again after ${atMs - killedMs} ms`;
    }
    if (startedMs === undefined) return undefined;
    this.clientStartMs.push(atMs - startedMs);
    this.#starting.delete(name);
    return `${name} is back after ${atMs - startedMs} ms`;
  }

  /** As {@linkcode connected}. @param storedMs When the server that took it got it. @param atMs When its sender heard that it is stored. */
  acknowledged(storedMs: number, atMs: number): string | undefined {
    const words: string[] = [];
    for (let at = this.#leaders.length - 1; at >= 0; at--) {
      const killedMs = this.#leaders[at]!;
      if (storedMs <= killedMs) continue;
      this.takeoverMs.push(atMs - killedMs);
      this.#leaders.splice(at, 1);
      words.push(`the store goes on after ${atMs - killedMs} ms`);
    }
    return words.join(", ") || undefined;
  }
}
