/**
 * What a server gives its clients to come back with, and when it gives them another (docs/PROTOCOL.md §2.6).
 *
 * A grant gets stale while its connection lives on: the ticket keys change, and how often a client may ask whether its server
 * lives depends on how many clients there are. So whoever is heard from has its grant looked at now and then: a client that has
 * been here for a week holds a ticket that opens, and those who came first do not ask for ever as often as they might when they
 * were few.
 */
import { kept } from "../kept.ts";
import { encodeGrant, TICKET_LIFETIME_SECONDS, type TicketLogin, type Tickets } from "../handshake/mod.ts";

export interface GrantsOptions {
  readonly tickets: Tickets;
  readonly wallSeconds: () => number;
  /** How many clients there are. */
  readonly clients: () => number;
}

/** What a client holds. */
export interface Granted {
  readonly login: TicketLogin;
  readonly watchMs: number;
  /** Of the key that sealed its ticket. */
  readonly keyId: Uint8Array;
  /** When to look again whether it is still good. */
  lookUs: number;
}

export interface Grant {
  /** For ACCEPT or NEW_TICKET. */
  readonly bytes: Uint8Array;
  readonly granted: Granted;
}

export class Grants {
  readonly #options: GrantsOptions;

  constructor(options: GrantsOptions) {
    this.#options = options;
  }

  /** @param connection.secret 32 bytes, `resumption` (§4). */
  make(login: TicketLogin, connection: { connectionId: Uint8Array; secret: Uint8Array; nowUs: number }): Grant {
    const { tickets, wallSeconds } = this.#options, watchMs = this.#watchMs;
    const ticket = tickets.seal(login, { ...connection, nowSeconds: wallSeconds() });
    const { user, device, session, generation } = login;
    const granted = {
      login: { user, device: kept(device), session: kept(session), generation },
      watchMs,
      keyId: tickets.sealingId,
      lookUs: connection.nowUs + LOOK_US,
    };
    return { bytes: encodeGrant({ lifetimeSeconds: TICKET_LIFETIME_SECONDS, watchMs, ticket }), granted };
  }

  /** Whether its holder should have another by now. Looks seldom: it may be asked for every packet. */
  isStale(granted: Granted, nowUs: number): boolean {
    if (nowUs < granted.lookUs) return false;
    granted.lookUs = nowUs + LOOK_US;
    const watchMs = this.#watchMs;
    return watchMs >= 2 * granted.watchMs || 2 * watchMs <= granted.watchMs ||
      !this.#options.tickets.isSealing(granted.keyId);
  }

  /** The more clients, the less often each may ask whether we live. */
  get #watchMs(): number {
    const watchMs = this.#options.clients() * 1000 / PROBES_PER_SECOND;
    return Math.round(Math.min(WATCH_MS_MAX, Math.max(WATCH_MS_MIN, watchMs)));
  }
}

/** How often a grant is looked at. */
const LOOK_US = 10 * 1_000_000;
/**
 * How often idle clients look whether their server lives: at most this many a second in all, each 25 µs of ours in company and 55 µs
 * alone, so three to five per cent of a core, and up to twice that while their number doubles; and no client more often than it
 * takes to come back within a second.
 */
const PROBES_PER_SECOND = 1000;
const WATCH_MS_MIN = 300;
const WATCH_MS_MAX = 15_000;
