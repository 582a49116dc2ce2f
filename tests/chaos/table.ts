/** What a run is told as: a table for people, an object for programs. PURE. */
import { ZEROS } from "./judge.ts";
import { KILLS } from "./plan.ts";
import type { ChaosOptions, ChaosResult } from "./run.ts";
import type { Reconnect, Takeover } from "./times.ts";

export function formatResult(result: ChaosResult): string {
  const { verdict, typed, shown, kills, times, network, talkSeconds, seconds, blindTo } = result;
  const perSecond = (typed / talkSeconds).toFixed(0);
  const rows: [string, string][] = [
    ["messages", `${typed} typed, ${shown} shown, in ${talkSeconds.toFixed(1)} s of talk (${perSecond}/s)`],
    ["datagrams", `${network.carried}: ${network.lost} lost, ${network.duplicated} doubled, ${network.reordered} late`],
    ["killed", KILLS.map((kind) => `${kind} ${kills[kind]}`).join(", ")],
    ...TIMES.map(([title, , pick]) => [title, spread(pick(result))] as [string, string]),
    ["client start ms", spread(times.clientStartMs)],
    ["balancer start ms", spread(times.balancerStartMs)],
    ["timers late ms", spread(times.lateMs)],
    ["drawn again", `${verdict.redrawn} after a kill, at the same place`],
    ...Object.keys(ZEROS).map((zero) => [zero, `${verdict.counts[zero as keyof typeof ZEROS]}`] as [string, string]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return [
    ...rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`),
    ...verdict.problems.map((problem) => `PROBLEM ${problem}`),
    ...blindTo.map((name) => `BLIND the judge did not find what was planted: ${name}`),
    verdict.ok && blindTo.length === 0
      ? `OK in ${seconds.toFixed(0)} s: nothing acknowledged is lost, each message once and in order`
      : `FAILED in ${seconds.toFixed(0)} s`,
  ].join("\n");
}

export function resultJson(options: ChaosOptions, result: ChaosResult): Record<string, unknown> {
  const { seed, messages, people, servers, loss, duplicate, reorder } = options;
  const { verdict, typed, shown, kills, times, network, talkSeconds, seconds } = result;
  return {
    chaos: "run",
    seed,
    messages,
    people,
    servers,
    loss,
    duplicate,
    reorder,
    typed,
    shown,
    ...Object.fromEntries(KILLS.map((kind) => [`${kind}Kills`, kills[kind]])),
    ...Object.assign({}, ...TIMES.map(([, name, pick]) => percentiles(name, pick(result)))),
    ...percentiles("clientStart", times.clientStartMs),
    ...percentiles("balancerStart", times.balancerStartMs),
    ...percentiles("timersLate", times.lateMs),
    datagrams: network.carried,
    datagramsLost: network.lost,
    redrawn: verdict.redrawn,
    ...verdict.counts,
    problems: verdict.problems,
    blindTo: result.blindTo,
    talkSeconds: round(talkSeconds),
    seconds: round(seconds),
    ok: verdict.ok && result.blindTo.length === 0,
  };
}

/** Where the time of each takeover went, a line for each. */
export function formatTakeovers({ takeovers, times }: Pick<ChaosResult, "takeovers" | "times">): string[] {
  return takeovers.map(({ killedMs, noticedMs, leadsMs, openMs, followMs, isCold }, at) => {
    const { connected, askedMs, heardMs } = times.takeovers[at]!;
    const store = [
      `noticed ${inMs(noticedMs)}`,
      `led ${inMs(leadsMs)}${openMs === undefined ? "" : ` (${openMs} to open)`}${isCold ? " by a new process" : ""}`,
      `all follow ${inMs(followMs)}`,
    ];
    const people = [`${connected} connected elsewhere`, `asked ${inMs(askedMs)}`, `heard ${inMs(heardMs)}`];
    return `${new Date(killedMs).toISOString()} leader killed: ${[...store, ...people].join(", ")}`;
  });
}

/** The value below which the share `p` lies; NaN of none. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted.length === 0 ? NaN : sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))]!;
}

function inMs(value: number | undefined): string {
  return value === undefined ? "never" : `${Math.round(value)}`;
}

/**
 * What people wait for, and what it is made of: title, name in the JSON, values. How long the store is without a leader is its own
 * affair; who has lost their server besides has to find another first, and where every server dies within a moment everybody waits
 * for a process to start.
 */
const TIMES: readonly (readonly [string, string, (result: ChaosResult) => number[]])[] = [
  ["takeover ms", "takeover", ({ times }) => heard(times.takeovers)],
  [
    "  someone connected",
    "takeoverConnected",
    ({ times }) => heard(times.takeovers.filter((one) => one.connected > 0)),
  ],
  ["  everybody cut off", "takeoverCutOff", ({ times }) => heard(times.takeovers.filter((one) => one.connected === 0))],
  [
    "store leads ms",
    "storeLeads",
    ({ takeovers }) => known(takeovers.map((one) => one.isCold ? undefined : one.leadsMs)),
  ],
  ["store, all follow", "storeFollow", ({ takeovers }) => known(takeovers.map((one) => one.followMs))],
  [
    "store, cold start",
    "storeCold",
    ({ takeovers }) => known(takeovers.map((one) => one.isCold ? one.leadsMs : undefined)),
  ],
  ["reconnect ms", "reconnect", ({ times }) => times.reconnects.map(({ ms }) => ms)],
  ["  one server died", "reconnectOne", ({ times }) => waited(times.reconnects, false)],
  ["  more died", "reconnectMore", ({ times }) => waited(times.reconnects, true)],
];

function heard(takeovers: readonly Takeover[]): number[] {
  return known(takeovers.map(({ heardMs }) => heardMs));
}

function waited(reconnects: readonly Reconnect[], isDisturbed: boolean): number[] {
  return reconnects.filter((one) => one.isDisturbed === isDisturbed).map(({ ms }) => ms);
}

function known(values: readonly (number | undefined)[]): number[] {
  return values.filter((value) => value !== undefined);
}

function spread(values: readonly number[]): string {
  if (values.length === 0) return "none";
  const [p50, p99, max] = [0.5, 0.99, 1].map((p) => Math.round(percentile(values, p)));
  return `p50 ${p50}, p99 ${p99}, max ${max} (${values.length} times)`;
}

function percentiles(name: string, values: readonly number[]): Record<string, number | null> {
  const at = (p: number) => values.length === 0 ? null : round(percentile(values, p));
  return { [`${name}P50Ms`]: at(0.5), [`${name}P99Ms`]: at(0.99), [`${name}MaxMs`]: at(1) };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
