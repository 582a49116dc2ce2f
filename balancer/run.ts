/** One balancer from start to stop: directory, socket, keys, servers, and back. */
import { loadClusterKeys, TICKET_KEY_AGE_MS, TicketKeyFile } from "../shared/cluster/mod.ts";
import { type BalancerState, dataPaths, removeBalancerState, writeBalancerState } from "../shared/cluster/mod.ts";
import { createPrimitives, formatFingerprint, systemRandom } from "../shared/crypto/mod.ts";
import { AddressTokens, TokenPurpose } from "../shared/handshake/mod.ts";
import { type ControlServer, type FileLock, lastLogLine, LogFile, removeStaleSocket } from "../shared/host/mod.ts";
import { serveControl } from "../shared/host/mod.ts";
import { BindError, formatHostPort, openUdp, type Route, type UdpSockets } from "../shared/net/mod.ts";
import { VERSION } from "../shared/version.ts";
import { findServers } from "./adoption.ts";
import { type BalancerConfig, defaultDataDir, HUNG_AFTER_S } from "./config.ts";
import { type BalancerStatus, controlHandlers } from "./control.ts";
import { claimDataDir } from "./data_dir.ts";
import { Fleet } from "./fleet.ts";
import { answerLocate, type LocateView } from "./locate.ts";
import { isPortFree } from "./ports.ts";
import { hearServer, serverCommand, type SpawnSettings } from "./spawner.ts";
import { StartError } from "./start_error.ts";
import { createStrategy } from "./strategy.ts";

/** What the outside sees of a run. */
export interface RunFace {
  /** Every server answers: the one line for standard output. */
  ready(line: string): void;
  /** For a person who watches. */
  progress(line: string): void;
  /** Resolves when it is time to stop. */
  readonly stop: Promise<string>;
}

/** Runs until it is told to stop, by `face.stop` or over the control socket. @throws StartError */
export async function runBalancer(config: BalancerConfig, face: RunFace): Promise<void> {
  await using run = new Run(config, face);
  await run.start();
  await run.stopped;
}

class Run {
  readonly #config: BalancerConfig;
  readonly #face: RunFace;
  readonly #startedMs = Date.now();
  readonly #stopRequested = Promise.withResolvers<string>();
  readonly #failed = Promise.withResolvers<number>();
  #lock: FileLock | undefined;
  #udp: UdpSockets | undefined;
  #log: LogFile | undefined;
  #control: ControlServer | undefined;
  #fleet: Fleet | undefined;
  #handleDatagram: ((bytes: Uint8Array, from: Route) => void) | undefined;
  #located = 0;
  #starting = true;
  #dataDir = "";
  #ticketKeys: TicketKeyFile | undefined;
  #stopped: Promise<void> | undefined;

  constructor(config: BalancerConfig, face: RunFace) {
    this.#config = config;
    this.#face = face;
    face.stop.then((why) => this.#stopRequested.resolve(why));
  }

  /** Resolves when a stop was asked for and every server is gone. */
  get stopped(): Promise<void> {
    return this.#stopped ??= this.#stopRequested.promise.then((why) => {
      this.#starting = false;
      this.#log?.log("info", "stopping", { why });
      this.#face.progress("Stopping ...");
      return this.#fleet?.stop();
    });
  }

  /** Returns when every server answers, or a stop was asked for. @throws StartError */
  async start(): Promise<void> {
    await this.#claim();
    const { host, port } = this.#udp!.address, { servers, advertise, serverArguments } = this.#config;
    const settings: SpawnSettings = { dataDir: this.#dataDir, host, advertise, serverArguments };
    this.#log = new LogFile(dataPaths(this.#dataDir).balancer.log);
    this.#log.log("info", "starting", { pid: Deno.pid, version: VERSION, host, port, servers, serverArguments });
    this.#face.progress(`Starting ${servers === 1 ? "1 server" : `${servers} servers`}, data in ${this.#dataDir}`);
    const keys = await loadKeys(this.#dataDir);
    this.#ticketKeys = await TicketKeyFile.open({
      dataDir: this.#dataDir,
      nowMs: Date.now,
      maxAgeMs: TICKET_KEY_AGE_MS,
      logger: this.#log,
    });
    const key = formatFingerprint(keys.fingerprint);
    const startedAt = new Date(this.#startedMs).toISOString();
    const state: BalancerState = { pid: Deno.pid, host, port, version: VERSION, startedAt, serverArguments };
    await this.#openControl(() => this.#status(state, key));
    const found = await findServers(settings, VERSION);
    await writeBalancerState(this.#dataDir, state);
    const tokens = new AddressTokens(await createPrimitives(), keys.tokenKey, keys.clusterId);
    this.#fleet = new Fleet({
      settings,
      servers,
      port,
      found,
      logger: this.#log,
      hungAfterS: this.#config.hungAfterS,
      onFailing: (number) => this.#failed.resolve(number),
      onProgress: () => this.#showProgress(),
    });
    const choose = createStrategy(this.#config.strategy, systemRandom);
    const view = (fleet: Fleet): LocateView => ({
      clusterId: keys.clusterId,
      clusterKey: keys.spki,
      servers: fleet.locatable(),
      choose,
      makeToken: (from) => tokens.make(TokenPurpose.locate, from, Math.floor(Date.now() / 1000)),
    });
    this.#handleDatagram = (bytes, from) => this.#answer(bytes, from, view(this.#fleet!));
    const outcome = await Promise.race([this.#fleet.ready, this.#failed.promise, this.#stopRequested.promise]);
    if (typeof outcome === "number") throw await this.#failure(settings, outcome);
    if (typeof outcome === "string") return;
    this.#starting = false;
    this.#log.log("info", "ready", { host, port, servers, key });
    this.#face.ready(`ready ${formatHostPort(host, port)} servers=${servers} data=${this.#dataDir} key=${key}`);
  }

  /** Ends what `start` began, in the opposite order. Servers are stopped, too: a balancer that fails leaves nothing behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fleet?.stop();
    // After the last server, before the answer: whoever asked for the stop may start the next balancer at once.
    this.#udp?.close();
    if (this.#control !== undefined) await removeBalancerState(this.#dataDir);
    await this.#control?.close();
    this.#ticketKeys?.close();
    this.#log?.log("info", "stopped");
    this.#log?.close();
    this.#lock?.release();
  }

  /** The directory's lock before the port, so that a second balancer hears of the first and not of a taken port. */
  async #claim(): Promise<void> {
    const { port, dataDir } = this.#config;
    if (dataDir !== undefined || port !== 0) {
      this.#dataDir = dataDir ?? defaultDataDir(port);
      this.#lock = await claimDataDir(this.#dataDir);
      this.#udp = this.#bind();
    } else {
      this.#udp = this.#bind();
      this.#dataDir = defaultDataDir(this.#udp.address.port);
      this.#lock = await claimDataDir(this.#dataDir);
    }
  }

  #bind(): UdpSockets {
    const { host, port } = this.#config;
    try {
      return openUdp({ host, port, onDatagram: (bytes, from) => this.#handleDatagram?.(bytes, from) });
    } catch (error) {
      if (!(error instanceof BindError)) throw error;
      if (error.why !== "in use") throw new StartError(1, error.message, { cause: error });
      throw new StartError(3, `${error.message}. Take another one: ${anotherCommand(this.#config)}`, { cause: error });
    }
  }

  async #openControl(status: () => BalancerStatus): Promise<void> {
    const { socket } = dataPaths(this.#dataDir).balancer;
    // Ours to sweep: we hold the lock that owns it.
    await removeStaleSocket(socket);
    const stop = async () => {
      this.#stopRequested.resolve("control socket");
      await this.stopped;
    };
    this.#control = await serveControl(socket, controlHandlers(status, () => this.#fleet, stop), this.#log);
  }

  #answer(bytes: Uint8Array, from: Route, view: LocateView): void {
    const answer = answerLocate(bytes, from.host, view);
    if (answer === undefined) return;
    this.#located++;
    if (answer.server) this.#fleet!.sent(answer.server.number);
    from.socket.send(answer.datagram, from, () => {});
  }

  #status(state: BalancerState, key: string): BalancerStatus {
    return {
      ...state,
      dataDir: this.#dataDir,
      key,
      strategy: this.#config.strategy,
      uptimeMs: Date.now() - this.#startedMs,
      located: this.#located,
      servers: this.#fleet?.servers() ?? [],
    };
  }

  #showProgress(): void {
    const servers = this.#fleet?.servers();
    // Once ready, what comes and goes is in the log and in `status`.
    if (!servers || !this.#starting) return;
    const answering = servers.filter((server) => server.healthy).length;
    this.#face.progress(`${answering} of ${this.#config.servers} servers answer`);
  }

  async #failure(settings: SpawnSettings, number: number): Promise<StartError> {
    const { log } = dataPaths(this.#dataDir).server(number);
    const port = this.#fleet!.servers().find((server) => server.number === number)!.port;
    const logged = await lastLogLine(log, "error"), exitCode = this.#fleet!.exitCode(number);
    await this.#fleet!.stop();
    const said = logged === undefined ? await hearServer(settings, number, port) : textOf(logged);
    const { program, args } = serverCommand(settings, number, port);
    const why = said === undefined ? "it left no error" : `last error: ${said}`;
    return new StartError(
      exitCode === DAMAGED ? DAMAGED : 1,
      `Cannot start server ${number}: it ended again and again; ${why}\nSee ${log}, or try it by hand: ${
        [program, ...args].join(" ")
      }`,
    );
  }
}

/** Of an error that was logged: its sentence, where there is one. */
function textOf(logged: Readonly<Record<string, unknown>>): string {
  const message = (logged["error"] as { readonly message?: unknown } | undefined)?.message;
  return typeof message === "string" ? message : JSON.stringify(logged);
}

async function loadKeys(dataDir: string): Promise<Awaited<ReturnType<typeof loadClusterKeys>>> {
  try {
    return await loadClusterKeys(dataDir, { create: true });
  } catch (error) {
    throw new StartError(1, (error as Error).message, { cause: error });
  }
}

/** The same command with a port that is free now. */
function anotherCommand(
  { servers, port, host, advertise, dataDir, strategy, hungAfterS, serverArguments }: BalancerConfig,
): string {
  let other = port;
  do other = other + 100 <= 65_535 ? other + 100 : 9100; while (!isPortFree(host, other) && other !== port);
  const words = ["fastchat-balancer", servers, other];
  if (host !== "0.0.0.0") words.push("--host", host);
  if (advertise !== "") words.push("--advertise", advertise);
  if (dataDir !== undefined) words.push("--data", dataDir);
  if (strategy !== "two-choices") words.push("--strategy", strategy);
  if (hungAfterS !== HUNG_AFTER_S) words.push("--hung-after", hungAfterS);
  return [...words, ...serverArguments].join(" ");
}

/** A server's exit code for data that must not be touched: trying again would not help. */
const DAMAGED = 4;
