/** Where results and progress of upkeep go, and how they read. */
import type { BackupManifest } from "../store/backup_file.ts";
import type { CheckReport, Problem } from "../store/check.ts";

export interface UpkeepFace {
  /** Results. */
  print(text: string): void;
  /** What a person should know besides. */
  tell(text: string): void;
}

/** Tells how far something is, once a second and not before it has taken a second. */
export function progress(what: string, face: UpkeepFace): (done: number, total: number) => void {
  let toldMs = performance.now();
  return (done, total) => {
    const nowMs = performance.now();
    if (nowMs - toldMs < TELL_MS) return;
    toldMs = nowMs;
    face.tell(`${what}: ${Math.floor(100 * done / Math.max(1, total))} %\n`);
  };
}

export function describeProblems(problems: readonly Problem[]): string {
  return problems.map(({ code, text }) => `${code}: ${text}\n`).join("");
}

export function describeCounts({ version, counts }: Pick<CheckReport, "version" | "counts">): string {
  const width = Math.max(...Object.keys(counts).map((name) => name.length));
  const rows = Object.entries(counts).map(([name, count]) => `  ${name.padEnd(width)}  ${count}`);
  return [`version ${version}`, ...rows].join("\n");
}

export function describeBackup({ madeAt, counts, clusterId, fingerprint, parts }: BackupManifest): string {
  const { users = 0, conversations = 0, log = 0 } = counts;
  const keys = parts.length > 1 ? "with the cluster's keys" : "without the cluster's keys";
  return `${some(log, "message")} in ${some(conversations, "conversation")} of ${some(users, "user")}, ${keys}\n` +
    `made at ${madeAt}, cluster ${clusterId}, key ${fingerprint}`;
}

function some(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

const TELL_MS = 1000;
