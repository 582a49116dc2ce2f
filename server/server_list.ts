/**
 * The cluster's servers as clients are told of them with every handshake, so that they find another one while the balancer
 * is dead. Read from the state files in DIR/run every few seconds, never on the way of a packet.
 */
import { readServerStates, type ServerState } from "../shared/cluster/mod.ts";
import type { Logger } from "../shared/log.ts";
import type { ServerEntry } from "../shared/packet/mod.ts";

export class ServerList {
  readonly #dataDir: string;
  readonly #logger: Logger;
  readonly #onChange: (servers: readonly ServerEntry[]) => void;
  #entries: readonly ServerEntry[] = [];
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param onChange Told of the first list, too. */
  constructor(dataDir: string, logger: Logger, onChange: (servers: readonly ServerEntry[]) => void = () => {}) {
    this.#onChange = onChange;
    this.#dataDir = dataDir;
    this.#logger = logger;
  }

  get entries(): readonly ServerEntry[] {
    return this.#entries;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.refresh(), REFRESH_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async refresh(): Promise<void> {
    try {
      const entries = (await readServerStates(this.#dataDir)).filter(isSendable).map(toEntry);
      if (JSON.stringify(entries) === JSON.stringify(this.#entries)) return;
      this.#entries = entries;
      this.#onChange(entries);
    } catch (error) {
      this.#logger.log("warn", "server-list-failed", { error });
    }
  }
}

/** A state file is written by another program: its host may be none that a packet can carry. */
function isSendable({ advertise }: ServerState): boolean {
  return /^[\x21-\x7e]*$/.test(advertise);
}

/** Without an advertised host it is the one that the client has just reached. */
function toEntry({ number, advertise, port }: ServerState): ServerEntry {
  return { number, host: advertise, port };
}

const REFRESH_MS = 1000;
