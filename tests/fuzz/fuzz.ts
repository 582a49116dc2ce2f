/**
 * Fuzzes live processes: a real balancer with servers, two real clients that chat through a recording relay, and strangers
 * from other addresses that send what they heard there, broken in every way, to servers and balancer.
 *
 * Nobody may crash, no message may be lost, late or doubled, nothing may be logged as an error, memory stays bounded, and
 * before an address is proven no answer is larger than its question.
 */
import { join } from "node:path";
import { kernelDrops, processMemoryKiB } from "../../bench/report.ts";
import { dataPaths, readServerState } from "../../shared/cluster/mod.ts";
import type { Address } from "../../shared/net/channel.ts";
import { alive, startCluster } from "../e2e/harness.ts";
import { Person } from "../e2e/people.ts";
import { Relay } from "../relay.ts";
import { Prng } from "../sim/prng.ts";
import { inDirectory } from "../temporary.ts";
import { Corpus, Mutator } from "./mutator.ts";
import { Stranger } from "./stranger.ts";

export interface FuzzOptions {
  readonly datagrams: number;
  readonly seed: number;
  readonly servers?: number;
  readonly report?: ((line: string) => void) | undefined;
}

export interface FuzzResult {
  readonly sent: number;
  /** That the kernel handed on: the rest found full socket buffers. */
  readonly delivered: number;
  readonly answers: number;
  /** Sent one at a time, and those of them that were answered: each answer was compared with its question. */
  readonly asked: number;
  readonly askedAnswered: number;
  readonly messages: number;
  readonly seconds: number;
  /** Of each server, KiB. */
  readonly memoryBefore: readonly number[];
  readonly memoryAfter: readonly number[];
  readonly byMutation: ReadonlyMap<string, number>;
  readonly problems: readonly string[];
}

export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  let result: FuzzResult | undefined;
  await inDirectory(async (homes) => {
    const cluster = await startCluster(options.servers ?? 2);
    const corpus = new Corpus();
    const relay = new Relay({
      rewriteLocated: true,
      rewrite(datagram) {
        corpus.add(datagram);
        return datagram;
      },
    });
    const strangers = HOSTS.map((host) => new Stranger(host)), asker = new Stranger(ASKER_HOST);
    const everybody = [...strangers, asker];
    const people: Person[] = [];
    try {
      const { port } = relay.map(cluster.host, cluster.port);
      for (const name of ["alice", "bob"]) {
        people.push(await Person.open({ server: `127.0.0.1:${port}`, name, home: join(homes, name) }));
      }
      const targets = await targetsOf(cluster.dataDir, cluster.port, options.servers ?? 2);
      const chat = new Chat(people as [Person, Person]);
      const pids = await cluster.serverPids();
      const memoryBefore = pids.map((pid) => processMemoryKiB(pid) ?? 0);
      const prng = new Prng(options.seed), begin = performance.now();
      const run = new Bombardment({
        options,
        targets,
        strangers,
        asker,
        mutator: new Mutator(prng, corpus),
        prng,
        chat,
      });
      await run.run();
      await chat.end();
      const problems = [...chat.problems, ...everybody.flatMap(({ complaints }) => complaints.slice(0, 5))];
      const pidsAfter = await cluster.serverPids();
      if (pidsAfter.join() !== pids.join() || !pids.every(alive)) {
        problems.push(`Servers were ${pids}, are ${pidsAfter}`);
      }
      if (!alive(cluster.balancer.pid)) problems.push("The balancer is dead");
      problems.push(...await errorsLogged(cluster.dataDir));
      const memoryAfter = pids.map((pid) => processMemoryKiB(pid) ?? 0);
      for (const [i, after] of memoryAfter.entries()) {
        if (after - memoryBefore[i]! < MEMORY_GROWTH_KIB_MAX) continue;
        problems.push(`Server ${i} grew from ${memoryBefore[i]} to ${after} KiB`);
      }
      result = {
        sent: run.sent,
        delivered: run.sent - run.dropped,
        answers: everybody.reduce((sum, { received }) => sum + received, 0),
        asked: run.asked,
        askedAnswered: run.askedAnswered,
        messages: chat.received,
        seconds: (performance.now() - begin) / 1000,
        memoryBefore,
        memoryAfter,
        byMutation: run.byMutation,
        problems,
      };
    } finally {
      for (const person of people) await person.close();
      for (const stranger of everybody) await stranger.close();
      relay.close();
      await cluster.stop();
    }
  });
  return result!;
}

/** Two people who answer one another as long as it lasts. */
class Chat {
  sent = 0;
  readonly problems: string[] = [];
  readonly #people: readonly [Person, Person];
  readonly #texts: readonly [string[], string[]] = [[], []];
  readonly #talking: Promise<unknown>;
  #isOver = false;

  constructor(people: readonly [Person, Person]) {
    this.#people = people;
    this.#talking = Promise.all([this.#talk(0), this.#talk(1)]);
  }

  get received(): number {
    const [alice, bob] = this.#people;
    return alice.from(bob.name).length + bob.from(alice.name).length;
  }

  /** Waits until everything said was heard, and judges it. */
  async end(): Promise<void> {
    this.#isOver = true;
    await this.#talking;
    for (const [side, texts] of this.#texts.entries()) {
      const from = this.#people[side]!, to = this.#people[1 - side]!;
      try {
        await to.until(() => to.from(from.name).length >= texts.length, "everything said was heard", 30);
      } catch (error) {
        this.problems.push((error as Error).message);
      }
      const heard = to.from(from.name);
      if (heard.length === texts.length && heard.every((text, i) => text === texts[i])) continue;
      this.problems.push(`${to.name} heard ${heard.length} messages of ${texts.length}, or in another order`);
    }
    for (const { name, refused } of this.#people) {
      if (refused.length > 0) this.problems.push(`${name} was shown ${refused.length} messages that do not open`);
    }
  }

  async #talk(side: 0 | 1): Promise<void> {
    const from = this.#people[side], to = this.#people[1 - side]!, texts = this.#texts[side];
    while (!this.#isOver) {
      const text = `${from.name} ${texts.length}`;
      texts.push(text);
      try {
        await from.client.send(to.name, text, { timeoutMs: 30_000 });
      } catch (error) {
        this.problems.push(`${text}: ${(error as Error).message}`);
        return;
      }
      this.sent++;
      await new Promise((resolve) => setTimeout(resolve, TALK_MS));
    }
  }
}

interface Parts {
  readonly options: FuzzOptions;
  /** The balancer first. */
  readonly targets: readonly Address[];
  readonly strangers: readonly Stranger[];
  /** One more stranger, who sends one datagram at a time. */
  readonly asker: Stranger;
  readonly mutator: Mutator;
  readonly prng: Prng;
  readonly chat: Chat;
}

/** Sends as fast as the processes take it, and no faster. */
class Bombardment {
  sent = 0;
  dropped = 0;
  /** Datagrams sent one at a time, and those of them that were answered: each by no more than it brought. */
  asked = 0;
  askedAnswered = 0;
  readonly byMutation = new Map<string, number>();
  readonly #parts: Parts;
  #pauseMs = 1;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async run(): Promise<void> {
    const { options, targets, strangers, asker, chat } = this.#parts;
    const ports = targets.map(({ port }) => port);
    const droppedBefore = kernelDrops(ports), begin = performance.now();
    let toldMs = begin, checkedAt = 0, locatedAt = 0;
    const locate = () => [...strangers, asker].forEach((stranger) => stranger.locate(targets[0]!));
    locate();
    while (this.sent < options.datagrams) {
      for (let i = Math.min(BURST, options.datagrams - this.sent); i > 0; i--) this.#sendOne();
      await this.#askOne();
      await new Promise((resolve) => setTimeout(resolve, this.#pauseMs));
      if (this.sent - checkedAt >= CHECK_EVERY) {
        checkedAt = this.sent;
        const dropped = kernelDrops(ports) - droppedBefore;
        // Few losses keep the buffers full enough; many would mean that we test the kernel.
        const isTooFast = dropped - this.dropped > CHECK_EVERY / 50;
        this.#pauseMs = isTooFast ? Math.min(this.#pauseMs * 2, PAUSE_MS_MAX) : Math.max(this.#pauseMs / 2, 1);
        this.dropped = dropped;
      }
      if (this.sent - locatedAt >= LOCATE_EVERY) {
        locatedAt = this.sent;
        locate();
      }
      const nowMs = performance.now();
      if (nowMs - toldMs < TELL_MS) continue;
      toldMs = nowMs;
      const rate = Math.round(this.sent / (nowMs - begin) * 1000);
      options.report?.(`${this.sent} datagrams, ${rate}/s, ${this.dropped} found full buffers; ${chat.sent} messages`);
    }
    this.dropped = kernelDrops(ports) - droppedBefore;
  }

  #sendOne(): void {
    const { prng, strangers, targets } = this.#parts;
    const stranger = prng.pick(strangers);
    stranger.send(this.#make(stranger), prng.pick(targets));
  }

  /** One that has a socket for itself. */
  async #askOne(): Promise<void> {
    const { asker, targets, prng } = this.#parts;
    if (!prng.chance(0.5)) return;
    this.asked++;
    if (await asker.ask(this.#make(asker), prng.pick(targets), ASK_MS)) this.askedAnswered++;
  }

  #make(stranger: Stranger): Uint8Array {
    const { name, bytes } = this.#parts.mutator.next(stranger.token);
    this.byMutation.set(name, (this.byMutation.get(name) ?? 0) + 1);
    this.sent++;
    return bytes;
  }
}

/** The balancer first. */
async function targetsOf(dataDir: string, balancerPort: number, servers: number): Promise<Address[]> {
  const targets: Address[] = [{ host: "127.0.0.1", port: balancerPort }];
  for (let number = 0; number < servers; number++) {
    const state = await readServerState(dataDir, number);
    if (state === undefined) throw new Error(`Server ${number} has no state file`);
    targets.push({ host: "127.0.0.1", port: state.port });
  }
  return targets;
}

async function errorsLogged(dataDir: string): Promise<string[]> {
  const found: string[] = [];
  const folder = dataPaths(dataDir).log;
  for await (const { name } of Deno.readDir(folder)) {
    for (const line of (await Deno.readTextFile(join(folder, name))).split("\n")) {
      if (line.includes('"level":"error"')) found.push(`${name}: ${line}`);
    }
  }
  return found.slice(0, 10);
}

const HOSTS = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
const ASKER_HOST = "127.0.0.6";
/** About as many as one socket's buffer holds, spread over several sockets. */
const BURST = 100;
const CHECK_EVERY = 500;
const LOCATE_EVERY = 5_000;
const PAUSE_MS_MAX = 100;
const ASK_MS = 5;
const TALK_MS = 30;
const TELL_MS = 5_000;
const MEMORY_GROWTH_KIB_MAX = 128 << 10;
