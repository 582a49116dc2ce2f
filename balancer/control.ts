/** The control socket of a balancer, from both ends: `status` and `stop`. */
import type { BalancerState } from "../shared/cluster/mod.ts";
import { dataPaths } from "../shared/cluster/mod.ts";
import { callControl, type ControlFields, type ControlHandler } from "../shared/host/mod.ts";
import type { Fleet, ServerView } from "./fleet.ts";

/** What a running balancer says about itself. */
export interface BalancerStatus extends BalancerState {
  readonly dataDir: string;
  /** The cluster key's fingerprint. */
  readonly key: string;
  readonly strategy: string;
  readonly uptimeMs: number;
  /** LOCATE questions answered. */
  readonly located: number;
  readonly servers: readonly ServerView[];
}

/** @param stop Begins to stop, and resolves when every server is gone. */
export function controlHandlers(
  status: () => BalancerStatus,
  fleet: () => Fleet | undefined,
  stop: () => Promise<void>,
): Record<string, ControlHandler> {
  return {
    status,
    // Answered when it is done, so that whoever asked knows.
    stop: async () => {
      const stopped = fleet()?.servers().filter((server) => server.pid !== undefined).length ?? 0;
      await stop();
      return { stopped };
    },
  };
}

/** @throws ControlError where none listens. */
export async function askBalancer(dataDir: string): Promise<BalancerStatus> {
  const fields: ControlFields = await callControl(dataPaths(dataDir).balancer.socket, { command: "status" });
  return fields as unknown as BalancerStatus;
}

/** @returns How many servers were stopped. @throws ControlError where none listens. */
export async function stopBalancer(dataDir: string): Promise<number> {
  const { stopped } = await callControl(dataPaths(dataDir).balancer.socket, { command: "stop" }, STOP_MS_MAX);
  return typeof stopped === "number" ? stopped : 0;
}

/** A table for people. */
export function formatStatus(status: BalancerStatus): string {
  const head = `balancer  pid ${status.pid}  ${status.host}:${status.port}  ${status.strategy}  ` +
    `up ${
      formatDuration(status.uptimeMs)
    }  ${status.located} located\ndata      ${status.dataDir}\nkey       ${status.key}\n`;
  const rows = [["server", "state", "pid", "port", "connections", "store", "restarts"]];
  for (const server of status.servers) {
    const { number, phase, healthy, pid, port, restarts } = server;
    const state = healthy ? "ok" : phase === "running" ? "silent" : phase;
    const { connections = "", store = "" } = server.status ?? {};
    rows.push([`${number}`, state, `${pid ?? ""}`, `${port || ""}`, `${connections}`, `${store}`, `${restarts}`]);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return head +
    rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd()).join("\n");
}

function formatDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

/** Servers may need a request, SIGTERM and SIGKILL, each with its time. */
const STOP_MS_MAX = 30_000;
