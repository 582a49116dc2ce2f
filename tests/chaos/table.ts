/** What a run is told as: a table for people, an object for programs. PURE. */
import { ZEROS } from "./judge.ts";
import { KILLS } from "./plan.ts";
import type { ChaosOptions, ChaosResult } from "./run.ts";

export function formatResult(result: ChaosResult): string {
  const { verdict, typed, shown, kills, times, network, talkSeconds, seconds, blindTo } = result;
  const perSecond = (typed / talkSeconds).toFixed(0);
  const rows: [string, string][] = [
    ["messages", `${typed} typed, ${shown} shown, in ${talkSeconds.toFixed(1)} s of talk (${perSecond}/s)`],
    ["datagrams", `${network.carried}: ${network.lost} lost, ${network.duplicated} doubled, ${network.reordered} late`],
    ["killed", KILLS.map((kind) => `${kind} ${kills[kind]}`).join(", ")],
    ["takeover ms", spread(times.takeoverMs)],
    ["reconnect ms", spread(times.reconnectMs)],
    ["client start ms", spread(times.clientStartMs)],
    ["balancer start ms", spread(times.balancerStartMs)],
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
    ...percentiles("takeover", times.takeoverMs),
    ...percentiles("reconnect", times.reconnectMs),
    ...percentiles("clientStart", times.clientStartMs),
    ...percentiles("balancerStart", times.balancerStartMs),
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

/** The value below which the share `p` lies; NaN of none. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted.length === 0 ? NaN : sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))]!;
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
