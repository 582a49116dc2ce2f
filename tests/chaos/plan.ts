/** What a seed decides: who talks with whom, what they say, who is killed when, and how far the network is. PURE. */
import { Prng } from "../sim/prng.ts";

export const KILLS = ["server", "leader", "balancer", "client"] as const;
export type KillKind = (typeof KILLS)[number];

export interface PlanOptions {
  readonly seed: number;
  readonly messages: number;
  readonly people: number;
  readonly kinds: readonly KillKind[];
  /** Of each kind. */
  readonly killsEach: number;
}

export interface Plan {
  readonly names: readonly string[];
  /** In the order in which it is said, as far as people come to say it. */
  readonly lines: readonly Line[];
  readonly kills: readonly Kill[];
  /** One way. */
  readonly delayMs: number;
  readonly jitterMs: number;
}

export interface Line {
  readonly key: string;
  readonly from: string;
  readonly to: string;
  readonly n: number;
  /** Begins with the key. */
  readonly text: string;
}

export interface Kill {
  readonly kind: KillKind;
  /** When this many lines were typed … */
  readonly afterTyped: number;
  /** … and so much later; in a burst, so much after the kill before. */
  readonly delayMs: number;
  /** Picks among those who live then: 0 to below 1. */
  readonly choice: number;
  /** Lines that are typed at once just before, by the victim where it is a client, so that it happens to what is on its way … */
  readonly burst: number;
  /** … for so long. */
  readonly fuseMs: number;
  /** A client or a balancer is started again after this. */
  readonly pauseMs: number;
}

/** @throws RangeError where there are too few people or names. */
export function makePlan({ seed, messages, people, kinds, killsEach }: PlanOptions): Plan {
  if (people < 2 || people > NAMES.length) throw new RangeError(`There are names for 2 to ${NAMES.length} people`);
  const prng = new Prng(seed), names = NAMES.slice(0, people);
  const pairs = makePairs(names, prng);
  return {
    names,
    lines: makeLines(messages, pairs, prng),
    kills: makeKills({ messages, kinds, killsEach }, prng),
    delayMs: prng.pick([0, 1, 5, 20]),
    jitterMs: prng.pick([0, 1, 10]),
  };
}

/** A ring, so that nobody is left out, and some more. */
function makePairs(names: readonly string[], prng: Prng): [string, string][] {
  const ring = names.map((name, at) => [name, names[(at + 1) % names.length]!] as [string, string]);
  const pairs = names.length === 2 ? ring.slice(0, 1) : ring;
  for (let more = 0; more < names.length / 2; more++) {
    const one = prng.pick(names), other = prng.pick(names);
    if (one !== other) pairs.push([one, other]);
  }
  return pairs;
}

function makeLines(messages: number, pairs: readonly [string, string][], prng: Prng): Line[] {
  const said = new Map<string, number>(), lines: Line[] = [];
  while (lines.length < messages) {
    const pair = prng.pick(pairs), [from, to] = prng.chance(0.5) ? pair : pair.toReversed() as [string, string];
    for (let burst = prng.pick([1, 1, 2, 5, 12]); burst > 0 && lines.length < messages; burst--) {
      const lane = `${from}>${to}`, n = (said.get(lane) ?? 0) + 1;
      said.set(lane, n);
      lines.push({ key: `${lane}#${n}`, from, to, n, text: makeText(`${lane}#${n}`, prng) });
    }
  }
  return lines;
}

/** Mostly a sentence, at times a page, now and then what takes a hundred datagrams. */
function makeText(key: string, prng: Prng): string {
  const sort = prng.float();
  const letters = sort < 0.8
    ? prng.integer(0, 200)
    : sort < 0.96
    ? prng.integer(200, 1_500)
    : sort < 0.998
    ? prng.integer(1_500, 8_000)
    : prng.integer(20_000, 80_000);
  const word = prng.pick(WORDS);
  return `${key} ${word.repeat(Math.ceil(letters / word.length)).slice(0, letters).toWellFormed()}.`;
}

function makeKills(
  { messages, kinds, killsEach }: Pick<PlanOptions, "messages" | "kinds" | "killsEach">,
  prng: Prng,
): Kill[] {
  const kills: Kill[] = [];
  for (let round = 0; round < killsEach; round++) {
    for (const kind of kinds) {
      // What dies together is the hardest: a third follows another kill within a moment.
      const follows = kills.length > 0 && prng.chance(1 / 3) ? prng.pick(kills) : undefined;
      kills.push({
        kind,
        afterTyped: follows?.afterTyped ?? Math.floor(messages * (0.03 + 0.87 * prng.float())),
        delayMs: prng.integer(0, follows ? 300 : 50),
        choice: prng.float(),
        burst: prng.integer(0, Math.min(BURST_MAX, messages / (4 * killsEach * kinds.length))),
        fuseMs: prng.pick([0, 5, 20, 80]),
        pauseMs: prng.integer(0, 1_500),
      });
    }
  }
  return kills.sort((a, b) => a.afterTyped - b.afterTyped);
}

const BURST_MAX = 40;
const NAMES = [
  "alice",
  "bob",
  "carol",
  "dave",
  "erin",
  "frank",
  "grace",
  "heidi",
  "ivan",
  "judy",
  "kate",
  "leo",
  "mallory",
  "nina",
  "olivia",
  "peggy",
];
const WORDS = ["lorem ipsum ", "the quick brown fox ", "ёлка зелёная ", "日本語のテキスト", "🙂 and so on ", "x"];
