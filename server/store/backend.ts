/**
 * Store and bus of one server of a cluster, whoever leads: takes the lead when nobody has it, follows otherwise, and
 * begins anew whenever that changes.
 */
import { readMigration } from "../../shared/cluster/mod.ts";
import type { Logger } from "../../shared/log.ts";
import type { Bus } from "../bus/bus.ts";
import { ClusterBus } from "../bus/cluster_bus.ts";
import { Calls } from "./calls.ts";
import { Follower } from "./follower.ts";
import { Leader, storePaths } from "./leader.ts";
import { operations } from "./operations.ts";
import { RemoteStore } from "./remote.ts";
import type { RetentionSettings } from "./retention.ts";
import { retryMs } from "./retry.ts";
import { type Store, StoreUnavailableError } from "./store.ts";

export type Role = "leader" | "follower" | "none";

export interface Backend {
  readonly store: Store;
  readonly bus: Bus;
  /** `none` while the leader is changing. */
  role(): Role;
  /** The number of the leadership in force, as this server last knew it. */
  leadership(): number;
  /** A leader answers what it was asked and writes everything back first. */
  close(): Promise<void>;
}

export interface BackendOptions {
  /** Made with mode 0700 where it is not there. */
  readonly dataDir: string;
  readonly serverNumber: number;
  readonly logger: Logger;
  /** What this server does with old messages while it leads; everything is kept where it is not given. */
  readonly retention?: RetentionSettings;
  /** How long to wait for a leader that holds the lock and does not answer. */
  readonly startMsMax?: number;
}

/**
 * Resolves once this server leads or follows.
 *
 * @throws StoreVersionError and what the system says of the files, where this server should lead and cannot;
 *   StoreUnavailableError where a leader holds the lock and does not answer.
 */
export async function openBackend(options: BackendOptions): Promise<Backend> {
  // Its files are private one by one; an operator's own directory may be open.
  await Deno.mkdir(options.dataDir, { recursive: true, mode: 0o700 });
  const backend = new ClusterBackend(options);
  await backend.start();
  return backend;
}

class ClusterBackend implements Backend {
  readonly store: RemoteStore;
  readonly bus: ClusterBus;
  readonly #options: BackendOptions;
  readonly #calls = new Calls();
  readonly #stop = new AbortController();
  #leader: Leader | undefined;
  #follower: Follower | undefined;
  #leadership = 0;
  #running: Promise<void> | undefined;

  constructor(options: BackendOptions) {
    this.#options = options;
    this.store = new RemoteStore(this.#calls);
    this.bus = new ClusterBus({
      online: () => this.#calls.call(operations.online, {}),
      among: (names) => this.#calls.call(operations.among, { names: [...names] }),
      logger: options.logger,
    });
  }

  /** The first time a fault is the operator's to hear; later ones are tried again. */
  async start(): Promise<void> {
    const patienceMs = this.#options.startMsMax ?? START_MS_MAX;
    let deadlineMs = performance.now() + patienceMs, wasMigrating = false;
    while (!await this.#join()) {
      // There will be one: it brings the database up to date, and when it says no more of that it is about to answer.
      const isMigrating = await readMigration(this.#options.dataDir) !== undefined;
      if (isMigrating || wasMigrating) deadlineMs = performance.now() + patienceMs;
      wasMigrating = isMigrating;
      if (performance.now() > deadlineMs) {
        this.#calls.close();
        throw new StoreUnavailableError(
          `Cannot open the store in ${this.#options.dataDir}: its leader does not answer`,
        );
      }
      await this.#pause(POLL_MS);
    }
    this.#running = this.#run();
  }

  role(): Role {
    return this.#leader ? "leader" : this.#follower ? "follower" : "none";
  }

  leadership(): number {
    return this.#leadership;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#follower?.link.close();
    await this.#running;
  }

  /** Serves in one role after the other until it is closed. */
  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#serve();
      const lostMs = performance.now();
      while (!this.#stop.signal.aborted) {
        try {
          if (await this.#join()) break;
          await this.#pause(retryMs(performance.now() - lostMs));
        } catch (error) {
          // The lock was ours and the database would not open: somebody else may do better.
          this.#options.logger.log("error", "store.lead", { error });
          await this.#pause(LEAD_RETRY_MS);
        }
      }
    }
    // A role that was taken while we were being closed.
    await this.#leave();
    this.#calls.close();
  }

  /** One attempt to lead, and one to follow. Nothing is told of a role before the other side knows who is here. */
  async #join(): Promise<boolean> {
    const { dataDir, serverNumber, logger, retention } = this.#options;
    const leader = await Leader.tryLead({ dataDir, logger, retention });
    if (leader !== undefined) {
      this.#leader = leader;
      this.#leadership = leader.leadership;
      logger.log("info", "store.leading", { leadership: leader.leadership, openMs: leader.openMs });
      this.#calls.lead(leader);
      leader.hub.add(this.bus);
      this.bus.attach({
        announce: (user, online) => leader.hub.announce(this.bus, user, online),
        watch: (user, on) => leader.hub.presence.watch(this.bus, user, on),
        hint: (hint) => leader.hub.typing(hint),
      });
      return true;
    }
    try {
      const path = storePaths(dataDir).socket;
      const follower = await Follower.connect({ path, serverNumber, calls: this.#calls, port: this.bus });
      this.#follower = follower;
      this.#leadership = follower.leadership;
      logger.log("info", "store.following", { leadership: follower.leadership });
      // First who is here, then the calls: whatever they read, the notices behind it come.
      this.bus.attach(follower);
      this.#calls.follow(follower.link);
      return true;
    } catch (error) {
      logger.log("debug", "store.no-leader", { error });
      return false;
    }
  }

  /** Resolves when this role has ended. */
  async #serve(): Promise<void> {
    if (this.#follower) {
      const reason = await this.#follower.closed;
      if (!this.#stop.signal.aborted) this.#options.logger.log("warn", "store.leader-lost", { reason });
    } else if (this.#leader) {
      const stopped = Promise.withResolvers<void>();
      this.#stop.signal.addEventListener("abort", () => stopped.resolve(), { once: true });
      if (this.#stop.signal.aborted) stopped.resolve();
      await Promise.race([this.#leader.superseded, stopped.promise]);
    }
    await this.#leave();
  }

  async #leave(): Promise<void> {
    const leader = this.#leader, follower = this.#follower;
    this.#leader = this.#follower = undefined;
    this.bus.detach();
    this.#calls.lose();
    follower?.link.close();
    try {
      await leader?.close();
    } catch (error) {
      this.#options.logger.log("error", "store.close", { error });
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const signal = this.#stop.signal;
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done);
    });
  }
}

/** How often the lock and the socket are tried at the start. */
const POLL_MS = 50;
const LEAD_RETRY_MS = 1000;
const START_MS_MAX = 15_000;
