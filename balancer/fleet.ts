/**
 * The server processes of one data directory: performs what the supervisor decides and tells it what happens. Knows each
 * server's port, status and load, and decides nothing about them.
 */
import { dataPaths, readMigration, type ServerStatus } from "../shared/cluster/mod.ts";
import { callControl, watchControl } from "../shared/host/mod.ts";
import type { Logger } from "../shared/log.ts";
import { monotonicClock } from "../shared/net/mod.ts";
import { askStatus, type FoundServer, holderOf } from "./adoption.ts";
import type { LocatableServer } from "./locate.ts";
import { choosePort, isPortFree } from "./ports.ts";
import { signalServer, spawnServer, type SpawnSettings } from "./spawner.ts";
import { Load } from "./strategy.ts";
import { type SlotView, Supervisor, type SupervisorAction } from "./supervisor.ts";

export interface FleetOptions {
  readonly settings: SpawnSettings;
  /** How many there should be; those found beyond are stopped. */
  readonly servers: number;
  /** The balancer's own port: theirs follow it. */
  readonly port: number;
  readonly found: readonly FoundServer[];
  readonly logger: Logger;
  /** Seconds without an answer after which a server is killed and replaced. */
  readonly hungAfterS: number;
  /** A slot failed several times in a row. */
  onFailing?(number: number, failures: number): void;
  /** A server became ready or ended. */
  onProgress?(): void;
}

/** One server number, as `status` shows it. */
export interface ServerView {
  readonly number: number;
  readonly phase: SlotView["phase"];
  readonly healthy: boolean;
  readonly pid: number | undefined;
  readonly port: number;
  readonly restarts: number;
  readonly status: ServerStatus | undefined;
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #supervisor: Supervisor;
  readonly #places: Place[] = [];
  readonly #ready = Promise.withResolvers<void>();
  readonly #gone = Promise.withResolvers<void>();
  #pulse: ReturnType<typeof setTimeout> | undefined;
  #alarm: ReturnType<typeof setTimeout> | undefined;
  #stopping = false;
  #draining = false;

  constructor(options: FleetOptions) {
    this.#options = options;
    const nowUs = monotonicClock.nowUs();
    this.#supervisor = new Supervisor(options.servers, nowUs, options.hungAfterS);
    for (const { number, pid, port, fitness, status } of options.found) {
      this.#place(number).port = port;
      this.#supervisor.found(number, pid, fitness, nowUs);
      if (status) this.#answered(number, pid, status);
      this.#watch(number, pid);
      options.logger.log("info", "server-found", { number, pid, port, fitness });
    }
    this.#supervisor.handleTimeout(nowUs);
    this.#drain();
    this.#beat();
  }

  /** Resolves once every server has answered that it is ready. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Stops all servers; resolves when the last process is gone. May be repeated. */
  stop(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#supervisor.stop(monotonicClock.nowUs());
      this.#drain();
      this.#beat();
    }
    return this.#gone.promise;
  }

  /** Those that clients may be sent to now, in order of their numbers. */
  locatable(): LocatableServer[] {
    const servers: LocatableServer[] = [];
    for (let number = 0; number < this.#places.length; number++) {
      if (!this.#supervisor.healthy(number)) continue;
      const { port, load } = this.#place(number);
      servers.push({ number, host: this.#options.settings.advertise, port, load: load.connections });
    }
    return servers;
  }

  /** A client was sent there, and will show up in its status later. */
  sent(number: number): void {
    this.#place(number).load.sent();
  }

  /** With which code it ended last, where that is known. */
  exitCode(number: number): number | undefined {
    return this.#place(number).exitCode;
  }

  servers(): ServerView[] {
    return this.#supervisor.slots().map((slot) => {
      const { port, status } = this.#place(slot.number);
      const { number, phase, pid } = slot;
      const healthy = this.#supervisor.healthy(number);
      return { number, phase, healthy, pid, port, restarts: Math.max(0, slot.spawns - 1), status };
    });
  }

  /** Asks everybody how they are; often while something is about to change, else once a second. */
  #beat(): void {
    clearTimeout(this.#pulse);
    this.#supervisor.beat(monotonicClock.nowUs());
    const slots = this.#supervisor.slots();
    for (const slot of slots) {
      this.#ask(slot).catch((error) =>
        this.#options.logger.log("error", "server-ask-failed", { number: slot.number, error })
      );
    }
    const restless = slots.some(({ phase }) => phase === "starting" || phase === "stopping");
    if (!this.#over) this.#pulse = setTimeout(() => this.#beat(), restless ? BEAT_MS_RESTLESS : BEAT_MS);
  }

  async #ask({ number, pid }: SlotView): Promise<void> {
    const place = this.#place(number);
    if (pid === undefined || place.asking) return;
    place.asking = true;
    const status = await askStatus(this.#options.settings.dataDir, number, pid, ASK_MS_MAX).finally(() => {
      place.asking = false;
    });
    if (status !== undefined) {
      this.#answered(number, pid, status);
    } else {
      // Our own children tell us when they end. Others hold a lock until they do.
      const adopted = place.child !== pid;
      if (adopted && await holderOf(this.#options.settings.dataDir, number) !== pid) return this.#exited(number, pid);
      if ((await readMigration(this.#options.settings.dataDir))?.pid === pid) {
        this.#supervisor.migrating(number, pid, monotonicClock.nowUs());
        return this.#drain();
      }
      // What is counted is seconds without an answer.
      const nowMs = performance.now();
      if (nowMs - place.missedMs >= TICK_MS_MIN) {
        place.missedMs = nowMs;
        this.#supervisor.missed(number, pid, monotonicClock.nowUs());
      }
    }
    this.#drain();
  }

  /** The system tells of the end of our own children only. That of others ends what we have open to them. */
  async #watch(number: number, pid: number): Promise<void> {
    const { dataDir } = this.#options.settings;
    try {
      const watched = await watchControl(dataPaths(dataDir).server(number).socket);
      this.#place(number).watched = watched;
      await watched.ended;
      // Its locks go with it, most likely in this very moment; a stop takes longer, and is asked for every beat.
      for (let attempt = 0; attempt < ENDED_ATTEMPTS && this.#supervisor.pidOf(number) === pid; attempt++) {
        if (await holderOf(dataDir, number) !== pid) return this.#exited(number, pid);
        await new Promise((resolve) => setTimeout(resolve, ENDED_PAUSE_MS));
      }
    } catch (error) {
      this.#options.logger.log("debug", "server-unwatched", { number, pid, error });
    }
  }

  #answered(number: number, pid: number, status: ServerStatus): void {
    if (this.#supervisor.pidOf(number) !== pid) return;
    const place = this.#place(number);
    place.port = status.port;
    place.status = status;
    const nowMs = performance.now();
    if (nowMs - place.reportedMs >= TICK_MS_MIN) {
      place.reportedMs = nowMs;
      place.load.report(status.connections);
    }
    const before = this.#supervisor.healthy(number);
    this.#supervisor.answered(number, pid, status.ready, monotonicClock.nowUs());
    if (before || !this.#supervisor.healthy(number)) return;
    this.#options.logger.log("info", "server-ready", { number, pid, port: status.port });
    this.#options.onProgress?.();
    if (this.#supervisor.allHealthy && !this.#stopping) this.#ready.resolve();
  }

  #exited(number: number, pid: number, how: { code?: number; signal?: string | null } = {}): void {
    // A question under way may notice before or after the system tells us.
    if (this.#supervisor.pidOf(number) !== pid) return;
    const place = this.#place(number);
    if (place.child === pid) place.child = undefined;
    place.exitCode = how.code;
    place.watched?.close();
    place.watched = undefined;
    place.status = undefined;
    place.load.clear();
    this.#options.logger.log(this.#stopping ? "info" : "warn", "server-exited", { number, pid, ...how });
    this.#supervisor.exited(number, pid, monotonicClock.nowUs());
    this.#drain();
    this.#options.onProgress?.();
  }

  /** Performs every action due, then sets the alarm for the next deadline. */
  #drain(): void {
    // An action may report back at once (`spawned`); what that asks for is performed by the loop already under way.
    if (this.#draining) return;
    this.#draining = true;
    try {
      for (let action = this.#supervisor.pollAction(); action; action = this.#supervisor.pollAction()) {
        this.#perform(action);
      }
    } finally {
      this.#draining = false;
    }
    clearTimeout(this.#alarm);
    if (this.#over) return this.#finish();
    const deadlineUs = this.#supervisor.nextDeadlineUs();
    if (deadlineUs === undefined) return;
    const delayMs = Math.max(0, Math.ceil((deadlineUs - monotonicClock.nowUs()) / 1000));
    this.#alarm = setTimeout(() => {
      this.#supervisor.handleTimeout(monotonicClock.nowUs());
      this.#drain();
    }, delayMs);
  }

  #perform(action: SupervisorAction): void {
    const { logger } = this.#options;
    const level = action.type === "failing" ? "error" : action.type === "hung" ? "warn" : "info";
    logger.log(level, `server-${action.type}`, { ...action, type: undefined });
    switch (action.type) {
      case "spawn":
        return this.#spawn(action.number);
      case "stop": {
        const { socket } = dataPaths(this.#options.settings.dataDir).server(action.number);
        callControl(socket, { command: "stop" }).catch((error) => {
          logger.log("warn", "server-stop-unheard", { number: action.number, error });
        });
        return;
      }
      case "signal":
        this.#signal(action.number, action.pid, action.hard);
        return;
      case "hung":
        return;
      case "failing":
        return this.#options.onFailing?.(action.number, action.failures);
    }
  }

  /** A child of ours keeps its pid until we have seen it end; anybody else's is signalled only while it holds its lock. */
  async #signal(number: number, pid: number, hard: boolean): Promise<void> {
    const { settings, logger } = this.#options;
    try {
      const ours = this.#place(number).child === pid;
      if (ours || await holderOf(settings.dataDir, number) === pid) signalServer(pid, hard);
    } catch (error) {
      logger.log("error", "server-signal-failed", { number, pid, error });
    }
  }

  #spawn(number: number): void {
    const { settings, logger, port } = this.#options;
    const place = this.#place(number);
    try {
      const taken = new Set(this.#places.filter((other) => other !== place).map((other) => other.port));
      taken.add(port);
      const wanted = place.port || port + 1 + number;
      place.port = choosePort(wanted, taken, (port) => isPortFree(settings.host, port));
      const child = spawnServer(settings, number, place.port);
      place.child = child.pid;
      place.missedMs = performance.now();
      this.#supervisor.spawned(number, child.pid, monotonicClock.nowUs());
      child.exited.then((how) => this.#exited(number, child.pid, how));
      logger.log("info", "server-spawned", { number, pid: child.pid, port: place.port });
    } catch (error) {
      logger.log("error", "server-spawn-failed", { number, error });
      this.#supervisor.spawnFailed(number, monotonicClock.nowUs());
    }
    // The first answer is worth waiting for actively.
    clearTimeout(this.#pulse);
    this.#pulse = setTimeout(() => this.#beat(), BEAT_MS_RESTLESS);
  }

  get #over(): boolean {
    return this.#stopping && this.#supervisor.done;
  }

  #finish(): void {
    clearTimeout(this.#pulse);
    clearTimeout(this.#alarm);
    for (const place of this.#places) place.watched?.close();
    this.#gone.resolve();
  }

  #place(number: number): Place {
    while (this.#places.length <= number) this.#places.push(new Place());
    return this.#places[number]!;
  }
}

/** What is known about one server number, beside the supervisor's slot. */
class Place {
  /** Its UDP port, now or the last time; 0 where it never had one. */
  port = 0;
  /** The pid where it is our own child. */
  child: number | undefined;
  status: ServerStatus | undefined;
  /** What is open to a process that is not our child. */
  watched: { close(): void } | undefined;
  readonly load = new Load();
  /** With which it ended last. */
  exitCode: number | undefined;
  /** A question is under way. */
  asking = false;
  /** When the last unanswered question was counted. */
  missedMs = 0;
  /** When its load was last taken over. */
  reportedMs = 0;
}

const BEAT_MS = 1000;
const BEAT_MS_RESTLESS = 100;
/** From the end of an adopted server's connection to that of its locks. */
const ENDED_ATTEMPTS = 10;
const ENDED_PAUSE_MS = 10;
/** Within a beat, so that no beat is missed by a question still under way. */
const ASK_MS_MAX = 800;
/** Questions come faster than once a second at times; what counts them does not. */
const TICK_MS_MIN = 0.8 * BEAT_MS;
