/**
 * One run: people talk through a bad network while servers, leaders, balancers and people are killed with SIGKILL, then
 * everything comes to rest and is judged.
 */
import { join } from "node:path";
import { ChaosCluster } from "./cluster.ts";
import type { Evidence } from "./evidence.ts";
import { judge, type Verdict } from "./judge.ts";
import { Network } from "./network.ts";
import { Notebook } from "./notebook.ts";
import { Person } from "./person.ts";
import type { Report } from "./person_main.ts";
import { type Kill, type KillKind, type Line, makePlan, type Plan } from "./plan.ts";
import { blindTo } from "./planted.ts";
import { readServerLogs } from "./server_logs.ts";
import { readStore } from "./store_logs.ts";
import { type StoreTakeover, takeovers } from "./takeovers.ts";
import { Times } from "./times.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly messages: number;
  readonly people: number;
  readonly servers: number;
  readonly kinds: readonly KillKind[];
  readonly killsEach: number;
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  /** Where everything lies; empty, and the caller's to remove. */
  readonly directory: string;
  /** Everybody may wait this long for something to go on. */
  readonly patienceMs?: number;
  readonly signal?: AbortSignal;
  report?(line: string): void;
}

export interface ChaosResult {
  readonly verdict: Verdict;
  readonly evidence: Evidence;
  readonly typed: number;
  readonly shown: number;
  readonly kills: Readonly<Record<KillKind, number>>;
  readonly times: Times;
  /** One for each of {@linkcode Times.takeovers}, in the same order. */
  readonly takeovers: readonly StoreTakeover[];
  readonly network: Network["counters"];
  readonly talkSeconds: number;
  readonly seconds: number;
  /** Planted faults that the judge did not find in this run's own evidence. */
  readonly blindTo: readonly string[];
}

/** @throws What ended the run: a process that cannot be started, the signal's reason. Nothing is left running. */
export async function chaos(options: ChaosOptions): Promise<ChaosResult> {
  const run = new Run(options);
  try {
    return await run.run();
  } finally {
    await run.end();
  }
}

class Run {
  readonly #options: ChaosOptions;
  readonly #plan: Plan;
  readonly #notebook = new Notebook();
  readonly #times = new Times();
  readonly #network: Network;
  readonly #cluster: ChaosCluster;
  readonly #people = new Map<string, Person>();
  /** What each has left to say, the next at the end. */
  readonly #queues: ReadonlyMap<string, Line[]>;
  readonly #kills: Record<KillKind, number> = { server: 0, leader: 0, balancer: 0, client: 0 };
  readonly #restarts = new Set<Promise<void>>();
  readonly #startMs = performance.now();
  readonly #over = new AbortController();
  #talkMs = 0;
  /** When something was stored or shown that was not before. */
  #progressMs = 0;
  #reportedMs = 0;

  constructor(options: ChaosOptions) {
    this.#options = options;
    this.#plan = makePlan(options);
    this.#queues = new Map(this.#plan.names.map((name) => [name, []]));
    for (const line of this.#plan.lines.toReversed()) this.#queues.get(line.from)!.push(line);
    const { seed, loss, duplicate, reorder } = options, { delayMs, jitterMs } = this.#plan;
    this.#network = new Network({ seed, delayMs, jitterMs, loss, duplicate, reorder });
    const onDeath = (what: string) => this.#onDeath(what);
    this.#cluster = new ChaosCluster({ servers: options.servers, dataDir: join(options.directory, "data"), onDeath });
  }

  async run(): Promise<ChaosResult> {
    await this.#begin();
    const talkStartMs = performance.now();
    // The first to fail ends the others.
    const talking = this.#talk(), killing = this.#killAll();
    await Promise.all([talking, killing]).catch((error) => {
      this.#over.abort(error);
      throw error;
    });
    await Promise.all(this.#restarts);
    this.#network.heal();
    this.#tell("Everything was typed, everybody is back, the network is well: waiting for what is on its way");
    await this.#settle();
    this.#talkMs = performance.now() - talkStartMs;
    await this.#finish();
    return this.#judge();
  }

  /** Ends every process and socket. */
  async end(): Promise<void> {
    this.#over.abort(new Error("The run is over"));
    await Promise.allSettled([...this.#restarts]);
    await Promise.allSettled([...this.#people.values()].map((person) => person.kill()));
    await this.#cluster.stop();
    this.#network.close();
  }

  async #begin(): Promise<void> {
    const { servers, people } = this.#options, { delayMs, jitterMs } = this.#plan;
    this.#tell(`Starting a balancer with ${servers} servers`);
    await this.#cluster.start();
    const server = this.#mapPorts();
    this.#tell(`Signing ${people} people up, ${delayMs} ms + 0 to ${jitterMs} ms away`);
    for (const name of this.#plan.names) {
      const person = new Person({
        name,
        home: join(this.#options.directory, name),
        server,
        onTyped: (line) => this.#notebook.type(line),
        onReport: (person, report) => this.#onReport(person, report),
        onDeath: (what) => this.#onDeath(what),
      });
      this.#people.set(name, person);
      person.start();
    }
    await this.#until(() => [...this.#people.values()].every(({ isOpen }) => isOpen), "everybody signs up");
  }

  /** Lines are typed at a rate that lasts for all the kills, by whoever can type; each waits for their own outbox at times. */
  async #talk(): Promise<void> {
    const perMs = this.#plan.lines.length / (TALK_MS_MIN + this.#plan.kills.length * TALK_MS_EACH_KILL);
    let due = 0, thenMs = performance.now();
    this.#progress();
    while (this.#notebook.typed.length < this.#plan.lines.length) {
      await this.#breathe();
      const nowMs = performance.now();
      due = Math.min(due + (nowMs - thenMs) * perMs, DUE_MAX);
      thenMs = nowMs;
      while (due >= 1 && this.#sayNext(WAITING_MAX)) due--;
    }
  }

  /** Whoever has most left to say types the next line, of those who have not too much on its way. @returns Whether anybody could. */
  #sayNext(waitingMax: number, who: Iterable<Person> = this.#people.values()): boolean {
    const left = (person: Person) => this.#queues.get(person.name)!.length;
    const able = [...who].filter((person) => person.isOpen && person.waiting < waitingMax && left(person) > 0);
    if (able.length === 0) return false;
    const person = able.reduce((a, b) => left(b) > left(a) ? b : a);
    person.say(this.#queues.get(person.name)!.pop()!);
    return true;
  }

  /** Many lines at once, a moment before somebody dies. */
  async #burst({ burst, fuseMs }: Kill, who?: Iterable<Person>): Promise<void> {
    for (let left = burst; left > 0 && this.#sayNext(Infinity, who); left--);
    await this.#pause(fuseMs);
  }

  async #killAll(): Promise<void> {
    for (const kill of this.#plan.kills) {
      await this.#until(() => this.#notebook.typed.length >= kill.afterTyped, `${kill.afterTyped} lines are typed`);
      await this.#pause(kill.delayMs);
      await this.#kill(kill);
    }
  }

  async #kill(kill: Kill): Promise<void> {
    switch (kill.kind) {
      case "server":
      case "leader": {
        const wanted = kill.kind === "leader";
        const victims = await this.#waitFor(async () => {
          const found = (await this.#cluster.servers()).filter(({ store }) => (store === "leader") === wanted);
          return found.length > 0 ? found : undefined;
        }, `a ${kill.kind} to kill`);
        const victim = victims[Math.floor(kill.choice * victims.length)]!;
        this.#mapPorts();
        await this.#burst(kill);
        const cutOff = [...this.#people.values()].filter((person) =>
          this.#network.behind(person.connectedTo) === victim.port
        ).map(({ name }) => name);
        const killedMs = Date.now();
        this.#cluster.killServer(victim);
        const goneMs = Date.now();
        if (wanted) this.#times.leaderKilled({ killedMs, goneMs, connected: this.#connectedNow() });
        this.#times.serverKilled(cutOff, this.#cluster.serving.length, killedMs);
        this.#killed(kill.kind, `server ${victim.number}, pid ${victim.pid}, with ${cutOff.join(", ") || "nobody"}`);
        return;
      }
      case "balancer": {
        await this.#waitFor(() => this.#cluster.hasBalancer || undefined, "a balancer to kill");
        await this.#burst(kill);
        const pid = await this.#cluster.killBalancer();
        this.#killed("balancer", `pid ${pid}`);
        return this.#restart(kill.pauseMs, async () => {
          const startMs = performance.now();
          await this.#cluster.startBalancer();
          this.#times.balancerStartMs.push(performance.now() - startMs);
        });
      }
      case "client": {
        const alive = await this.#waitFor(() => {
          const found = [...this.#people.values()].filter((person) => person.isAlive);
          return found.length > 0 ? found : undefined;
        }, "a client to kill");
        const victim = alive[Math.floor(kill.choice * alive.length)]!;
        await this.#burst(kill, [victim]);
        this.#times.clientKilled(victim.name);
        this.#killed("client", `${victim.name}, ${victim.waiting} messages not yet stored`);
        await victim.kill();
        return this.#restart(kill.pauseMs, () => {
          this.#startPerson(victim);
          return Promise.resolve();
        });
      }
    }
  }

  /** How many people have a server that lives. */
  #connectedNow(): number {
    const ports = new Set(this.#cluster.serving.map(({ port }) => port));
    return [...this.#people.values()].filter(({ connectedTo }) => ports.has(this.#network.behind(connectedTo) ?? -1))
      .length;
  }

  #killed(kind: KillKind, what: string): void {
    this.#kills[kind]++;
    this.#tell(`kill -9 ${kind}: ${what}`);
  }

  /** Somebody starts it again after a while, whatever else happens meanwhile. */
  #restart(pauseMs: number, start: () => Promise<void>): void {
    const restart = this.#pause(pauseMs).then(start).catch((error) => {
      if (!this.#over.signal.aborted) this.#onDeath(`Cannot be started again: ${error}`);
    }).finally(() => this.#restarts.delete(restart));
    this.#restarts.add(restart);
  }

  #startPerson(person: Person): void {
    this.#times.clientStarted(person.name, Date.now());
    person.start();
  }

  /** Faults have stopped: everything typed is shown within the time, or counts as lost. */
  async #settle(): Promise<void> {
    const all = this.#plan.lines.length;
    const done = () =>
      this.#notebook.shownCount >= all &&
      [...this.#people.values()].every((person) => person.isOpen && !person.hasUncertain);
    try {
      await this.#until(done, "everything typed is shown");
    } catch (error) {
      if (!(error instanceof NotInTimeError)) throw error;
      this.#tell(error.message);
    }
  }

  async #finish(): Promise<void> {
    const peers = new Map(this.#plan.names.map((name) => [name, new Set<string>()]));
    for (const { from, to } of this.#plan.lines) {
      peers.get(from)!.add(to);
      peers.get(to)!.add(from);
    }
    // Whatever comes twice may come late.
    await this.#pause(QUIET_MS);
    const ended = Promise.all([...this.#people.values()].map((person) => person.finish([...peers.get(person.name)!])));
    await Promise.race([ended, this.#pause(FINISH_MS_MAX)]);
    await this.#cluster.stop();
  }

  #judge(): ChaosResult {
    const evidence = this.#notebook.evidence(readStore(join(this.#options.directory, "data", "store.db")));
    const verdict = judge(evidence);
    return {
      verdict,
      evidence,
      typed: evidence.typed.length,
      shown: this.#notebook.shownCount,
      kills: this.#kills,
      times: this.#times,
      takeovers: takeovers(
        readServerLogs(join(this.#options.directory, "data"), this.#options.servers),
        this.#times.takeovers.map(({ killedMs }) => killedMs),
      ),
      network: this.#network.counters,
      talkSeconds: this.#talkMs / 1000,
      seconds: (performance.now() - this.#startMs) / 1000,
      blindTo: verdict.ok ? blindTo(evidence) : [],
    };
  }

  #onReport(person: Person, report: Report): void {
    const before = this.#notebook.shownCount + this.#notebook.storedCount;
    this.#notebook.note(person.name, person.life, report);
    if (this.#notebook.shownCount + this.#notebook.storedCount > before) this.#progressMs = performance.now();
    switch (report.type) {
      case "shown":
        // Shown at the other end: stored, whether its sender has heard or was dead then.
        return this.#people.get(report.key.split(">")[0]!)?.stored(report.key);
      case "acknowledged":
        return this.#tell(this.#times.acknowledged(report.storedMs, report.atMs));
      case "connected":
        return this.#tell(this.#times.connected(person.name, report.atMs));
      case "open":
        return this.#progress();
      case "complaint":
        return this.#tell(`${person.name}: ${report.text}`);
    }
  }

  #onDeath(what: string): void {
    if (this.#over.signal.aborted) return;
    this.#notebook.deaths.push(what);
    this.#tell(what);
    const person = [...this.#people.values()].find(({ isAlive, name }) => !isAlive && what.startsWith(`${name} `));
    // As a person would.
    if (person) this.#restart(1_000, () => Promise.resolve(this.#startPerson(person)));
  }

  /** Maps what the balancer put on another port. @returns Where the balancer is found. */
  #mapPorts(): string {
    for (const port of this.#cluster.ports) this.#network.map(port);
    return this.#network.map(this.#cluster.port);
  }

  #progress(): void {
    this.#progressMs = performance.now();
  }

  /** @throws NotInTimeError where nothing went on for as long as anybody may wait. */
  async #until(met: () => boolean, what: string): Promise<void> {
    this.#progress();
    while (!met()) await this.#breathe(what);
  }

  async #waitFor<T>(look: () => T | undefined | Promise<T | undefined>, what: string): Promise<T> {
    const untilMs = performance.now() + this.#patienceMs;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (performance.now() > untilMs) throw new NotInTimeError(`Not within ${this.#patienceMs / 1000} s: ${what}`);
      await this.#pause(LOOK_MS);
    }
  }

  async #breathe(what = "messages go on"): Promise<void> {
    const dueMs = performance.now() + LOOK_MS;
    await this.#pause(LOOK_MS);
    const nowMs = performance.now();
    this.#times.lateMs.push(nowMs - dueMs);
    this.#mapPorts();
    if (nowMs - this.#progressMs > this.#patienceMs) {
      throw new NotInTimeError(`Nothing went on for ${this.#patienceMs / 1000} s: ${what}`);
    }
    if (nowMs - this.#reportedMs < REPORT_MS) return;
    this.#reportedMs = nowMs;
    const { typed, storedCount, shownCount } = this.#notebook;
    if (typed.length > 0) this.#tell(`${typed.length} typed, ${storedCount} stored, ${shownCount} shown`);
  }

  async #pause(ms: number): Promise<void> {
    const signals = [this.#over.signal, ...(this.#options.signal ? [this.#options.signal] : [])];
    for (const signal of signals) signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => finish(resolve), ms);
      const aborted = (event: globalThis.Event) => finish(() => reject((event.target as AbortSignal).reason));
      const finish = (act: () => void) => {
        clearTimeout(timer);
        for (const signal of signals) signal.removeEventListener("abort", aborted);
        act();
      };
      for (const signal of signals) signal.addEventListener("abort", aborted);
    });
  }

  get #patienceMs(): number {
    return this.#options.patienceMs ?? PATIENCE_MS;
  }

  #tell(line: string | undefined): void {
    if (line === undefined) return;
    const seconds = ((performance.now() - this.#startMs) / 1000).toFixed(1).padStart(6);
    this.#options.report?.(`${seconds} s  ${line}`);
  }
}

class NotInTimeError extends Error {
  override readonly name = "NotInTimeError";
}

/** How many of each kind: enough to hit every moment, few enough for servers to come back in between. */
export function killsFor(messages: number): number {
  return Math.min(12, 2 + Math.floor(messages / 1000));
}

const LOOK_MS = 20;
const REPORT_MS = 5_000;
/** Talk lasts at least so long, and so much longer for each kill. */
const TALK_MS_MIN = 4_000;
const TALK_MS_EACH_KILL = 1_800;
/** What was not typed because nobody could is not made up for at once. */
const DUE_MAX = 50;
/** Messages of one person that are typed and not stored: then they wait. */
const WAITING_MAX = 32;
const PATIENCE_MS = 60_000;
const QUIET_MS = 1_000;
const FINISH_MS_MAX = 30_000;
