/**
 * One server from start to stop: number, logs, keys, store, UDP, control socket, and back. Brings `server.ts` its events and
 * the time, and decides nothing itself.
 */
import {
  type ClusterKeys,
  dataPaths,
  loadClusterKeys,
  removeServerState,
  type ServerState,
  type ServerStatus,
  TICKET_KEY_AGE_MS_UNATTENDED,
  TicketKeyFile,
  writeServerState,
} from "../shared/cluster/mod.ts";
import { createPrimitives } from "../shared/crypto/mod.ts";
import { CloseCode } from "../shared/errors.ts";
import {
  type ControlServer,
  ensurePrivateDirectory,
  LogFile,
  removeStaleSocket,
  serveControl,
} from "../shared/host/mod.ts";
import { STRANGER_BYTES_MAX } from "../shared/limits.ts";
import type { Logger } from "../shared/log.ts";
import {
  type Address,
  BindError,
  ChannelServer,
  DEFAULT_RSA_LIMITS,
  type EndpointLimits,
  monotonicClock,
} from "../shared/net/mod.ts";
import type { Primitives } from "../shared/primitives.ts";
import { VERSION } from "../shared/version.ts";
import { AppendQueue } from "./append_queue.ts";
import type { RsaSettings, ServerConfig } from "./config.ts";
import { Connection } from "./connection.ts";
import { newCounters, type Services } from "./context.ts";
import { GapRepair } from "./gap.ts";
import { dummyHash, PasswordPool } from "./password_pool.ts";
import { Pepper } from "./pepper.ts";
import { Server, TICK_MS } from "./server.ts";
import { ServerList } from "./server_list.ts";
import { type HeldNumber, holdNumber } from "./server_number.ts";
import { StartError } from "./start_error.ts";
import { isDamage, isFailureOfTheDisk } from "./store/full.ts";
import { storePaths } from "./store/leader.ts";
import { type Backend, openBackend } from "./store/backend.ts";
import { Throttles } from "./throttles.ts";
import { Typing } from "./typing.ts";

export class Runtime {
  readonly #config: ServerConfig;
  readonly #startedMs = Date.now();
  readonly #stopRequested = Promise.withResolvers<string>();
  /** How to undo what was begun, last first. */
  readonly #undo: (() => void | Promise<void>)[] = [];
  #held!: HeldNumber;
  #log!: LogFile;
  #control: ControlServer | undefined;
  #backend!: Backend;
  #passwords!: PasswordPool;
  #server!: Server;
  #services!: Services;
  #appends!: AppendQueue;
  #channels!: ChannelServer;
  #list!: ServerList;
  #ticketKeys!: TicketKeyFile;
  #isReady = false;

  private constructor(config: ServerConfig) {
    this.#config = config;
  }

  /** Returns when clients may come. @throws StartError, and what the system says of the data directory. */
  static async start(config: ServerConfig): Promise<Runtime> {
    const runtime = new Runtime(config);
    try {
      await runtime.#start();
      return runtime;
    } catch (cause) {
      const error = explained(cause, config.dataDir);
      runtime.#log?.log("error", "start-failed", { error });
      await runtime.#finish();
      throw error;
    }
  }

  get address(): Address {
    return this.#channels.address;
  }

  get number(): number {
    return this.#held.number;
  }

  get logger(): Logger {
    return this.#log;
  }

  /** Resolves, with the reason, when somebody asks for the end over the control socket or by {@linkcode requestStop}. */
  get stopRequested(): Promise<string> {
    return this.#stopRequested.promise;
  }

  requestStop(why: string): void {
    this.#stopRequested.resolve(why);
  }

  /** Sends clients to other servers, lets what was handed in be stored, and leaves. */
  async stop(why: string): Promise<void> {
    this.#log.log("info", "stopping", { why });
    this.#isReady = false;
    await this.#finish();
  }

  /** What the balancer asks every second, and people by hand. Never waits for the store. */
  status(): ServerStatus {
    const { port } = this.address;
    return {
      pid: Deno.pid,
      number: this.number,
      port,
      version: VERSION,
      connections: this.#channels.connections,
      ready: this.#isReady,
      store: this.#backend.role(),
      users: this.#server.sessions.users,
      uptimeMs: Date.now() - this.#startedMs,
      counters: this.#counters(),
    };
  }

  async #start(): Promise<void> {
    const { dataDir, retention } = this.#config;
    await this.#openDirectory();
    const keys = await loadKeys(dataDir);
    const ticketKeys = this.#ticketKeys = await loadTicketKeys(dataDir, this.#log);
    this.#undo.push(() => ticketKeys.close());
    const primitives = await createPrimitives();
    this.#backend = await openBackend({ dataDir, serverNumber: this.number, logger: this.#log, retention });
    this.#undo.push(() => this.#backend.close());
    this.#wire(keys, primitives);
    this.#list = new ServerList(dataDir, this.#log, (servers) => this.#server.fanout.servers = servers);
    await this.#list.refresh();
    this.#list.start();
    this.#undo.push(() => this.#list.stop());
    await this.#listen(keys, primitives);
    await this.#openControl();
    const { port } = this.address, { host, advertise } = this.#config;
    const startedAt = new Date(this.#startedMs).toISOString();
    const state: ServerState = {
      pid: Deno.pid,
      number: this.number,
      host,
      advertise,
      port,
      version: VERSION,
      startedAt,
    };
    await writeServerState(dataDir, state);
    // First of all to go: nobody should be sent to a server that is stopping.
    this.#undo.push(() => removeServerState(dataDir, this.number));
    await this.#list.refresh();
    this.#isReady = true;
    this.#log.log("info", "ready", { host, port, store: this.#backend.role() });
  }

  async #openDirectory(): Promise<void> {
    const { dataDir, logLevel } = this.#config, paths = dataPaths(dataDir);
    for (const directory of [dataDir, paths.run, paths.log]) await ensurePrivateDirectory(directory);
    const held = this.#held = await holdNumber(dataDir, this.#config.number);
    this.#undo.push(() => held.lock.release());
    const log = this.#log = new LogFile(paths.server(held.number).log, { level: logLevel });
    this.#undo.push(() => {
      log.log("info", "stopped");
      log.close();
    });
    // It answers until the store is closed: a server that is stopping is alive, and says that it is not ready.
    this.#undo.push(() => this.#control?.close());
    log.log("info", "starting", { pid: Deno.pid, number: held.number, version: VERSION });
  }

  /** Everything above the channels. */
  #wire(keys: ClusterKeys, primitives: Primitives): void {
    const config = this.#config, logger = this.#log, { store, bus } = this.#backend;
    const passwords = this.#passwords = new PasswordPool({
      size: config.passwordWorkers,
      queuedMax: config.passwordQueue,
      queuedPerAddressMax: config.passwordQueuePerAddress,
      logger,
    });
    this.#undo.push(() => passwords.close());
    const server = this.#server = new Server({
      announce: (user, online) => bus.announce(user, online),
      watch: (user, on) => bus.watch(user, on),
    });
    const gaps = new GapRepair({ store, server, logger, pause, nowMs: Date.now });
    this.#undo.push(() => gaps.stop());
    bus.listener = {
      onCommitted: (batch) => server.committed(batch, monotonicClock.nowUs()),
      onReceipts: (moved) => server.receipts(moved),
      onDevicesChanged: (change) => server.devicesChanged(change),
      onSessionsEnded: (ended) => server.sessionsEnded(ended),
      onGroupNews: (news) => {
        this.#services.typing.membersChanged(news);
        server.groupNews(news);
      },
      onPresence: (user, online) => server.presence.changed(user, online, monotonicClock.nowUs()),
      onTyping: (hint) => server.presence.typed(hint),
      onGap: () => gaps.start(),
    };
    const appends = this.#appends = new AppendQueue({ store, defer: setImmediate, pause, logger });
    this.#undo.push(() => within(STORE_LAST_MS, appends.idle()));
    this.#services = {
      store,
      bus,
      typing: new Typing({ store, bus, clock: monotonicClock }),
      primitives,
      clock: monotonicClock,
      nowMs: Date.now,
      clusterId: keys.clusterId,
      saltKey: keys.saltKey,
      pepper: new Pepper(keys.pepper),
      passwords,
      throttles: new Throttles(config.throttles),
      settings: {
        registration: config.registration,
        scryptLog2N: config.scryptLog2N,
        dummyHash: dummyHash(),
        sessionDays: config.sessionDays,
        archiveBytesMax: config.archiveMebibytes * 2 ** 20,
      },
      counters: newCounters(),
      logger,
    };
    const ticking = setInterval(() => server.tick(monotonicClock.nowUs()), TICK_MS);
    this.#undo.push(() => clearInterval(ticking));
  }

  async #listen(keys: ClusterKeys, primitives: Primitives): Promise<void> {
    const { host, port, connectionsMax, requestRate, appendRate } = this.#config;
    const wiring = {
      services: this.#services,
      server: this.#server,
      appends: this.#appends,
      requestRate,
      appendRate,
    };
    try {
      this.#channels = await ChannelServer.listen({
        host,
        port,
        serverNumber: this.number,
        cluster: {
          id: keys.clusterId,
          privateKeyPkcs8: keys.privateKeyPkcs8,
          spki: keys.spki,
          tokenKey: keys.tokenKey,
          resetKey: keys.resetKey,
        },
        ticketKeys: () => this.#ticketKeys.keys,
        primitives,
        servers: () => this.#list.entries,
        onChannel: (channel) => void new Connection(channel, wiring),
        logger: this.#log,
        strangerBytesMax: STRANGER_BYTES_MAX,
        limits: { connectionsMax, rsa: rsaLimits(this.#config.rsa) },
        datagramBytes: this.#config.datagramBytes,
      });
    } catch (error) {
      if (!(error instanceof BindError)) throw error;
      throw new StartError(3, error.message, { cause: error });
    }
    this.#undo.push(() => this.#channels.close(CloseCode.goElsewhere, "This server is stopping"));
  }

  async #openControl(): Promise<void> {
    const { socket } = dataPaths(this.#config.dataDir).server(this.number);
    // Ours to sweep: we hold the lock that owns it.
    await removeStaleSocket(socket);
    const stop = () => {
      this.requestStop("control socket");
      return {};
    };
    this.#control = await serveControl(socket, { status: () => this.status(), stop }, this.#log);
  }

  async #finish(): Promise<void> {
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        this.#log?.log("error", "stop-failed", { error });
      }
    }
  }

  #counters(): Record<string, number> {
    const { udp, endpoint } = this.#channels.stats, traffic = this.#server.traffic(), { fanout } = this.#server;
    return {
      datagramsReceived: udp.received,
      datagramsSent: udp.sent,
      bytesReceived: traffic.bytesReceived,
      bytesSent: traffic.bytesSent,
      packetsLost: traffic.packetsLost,
      datagramsDropped: endpoint.dropped,
      handshakes: endpoint.confirmed,
      retries: endpoint.retries,
      rsaDecryptions: endpoint.accepts + endpoint.failures,
      resumptions: endpoint.resumptions,
      ticketsUnknown: endpoint.ticketsUnknown,
      handshakesRefused: endpoint.busy,
      delivered: fanout.delivered,
      deliveriesSkipped: fanout.skipped,
      bcryptRuns: this.#passwords.runs,
      bcryptRefused: this.#passwords.refused,
      sessions: this.#server.sessions.size,
      hintsTold: this.#server.presence.told,
      ...this.#services.counters,
    };
  }
}

function rsaLimits({ rate, burst, rateTotal, inFlightMax, queuedMax }: RsaSettings): EndpointLimits["rsa"] {
  return {
    ...DEFAULT_RSA_LIMITS,
    perAddress: { perSecond: rate, burst },
    ceiling: { perSecond: rateTotal, burst: 2 * rateTotal },
    inFlightMax,
    queuedMax,
  };
}

/** What SQLite says names no file, and nothing to do. */
function explained(cause: unknown, dataDir: string): unknown {
  const said = cause instanceof Error ? cause.message : "";
  if (isFailureOfTheDisk(cause)) {
    // What is held back for that is gone as well: somebody else has taken it.
    const text = `Cannot start: there is no room on the disk of ${dataDir}, or it fails (${said}). ` +
      "Make room and start again; nothing that was stored is lost";
    return new StartError(1, text, { cause });
  }
  if (!isDamage(cause)) return cause;
  const text = `Cannot start: ${storePaths(dataDir).database} is damaged, or somebody else's (${said}). ` +
    "Copy the directory as it is, then restore the last good backup";
  return new StartError(4, text, { cause });
}

/** A cluster of one server started by hand makes its keys itself. */
async function loadKeys(dataDir: string): Promise<ClusterKeys> {
  try {
    return await loadClusterKeys(dataDir, { create: true });
  } catch (error) {
    throw new StartError(1, (error as Error).message, { cause: error });
  }
}

async function loadTicketKeys(dataDir: string, logger: Logger): Promise<TicketKeyFile> {
  try {
    return await TicketKeyFile.open({ dataDir, nowMs: Date.now, maxAgeMs: TICKET_KEY_AGE_MS_UNATTENDED, logger });
  } catch (error) {
    throw new StartError(1, (error as Error).message, { cause: error });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits for something, but not for ever. */
async function within(ms: number, what: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const enough = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  await Promise.race([what, enough]);
  clearTimeout(timer);
}

/** What clients handed in before the end is stored even though they cannot be told any more. */
const STORE_LAST_MS = 3000;
