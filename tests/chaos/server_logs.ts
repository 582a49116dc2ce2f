/** The servers' logs read at the end. */
import { dataPaths } from "../../shared/cluster/mod.ts";
import type { LogLine } from "./takeovers.ts";

/** Every line that is whole, server by server, each server's in order. Of a log that was put aside the oldest part is first. */
export function readServerLogs(dataDir: string, servers: number): LogLine[] {
  const lines: LogLine[] = [];
  for (let server = 0; server < servers; server++) {
    const { log } = dataPaths(dataDir).server(server);
    for (const path of [...putAside(log), log]) {
      for (const text of read(path).split("\n")) {
        const line = parse(text);
        if (line === undefined) continue;
        const { time, event, ...fields } = line;
        lines.push({ server, atMs: Date.parse(`${time}`), event: `${event}`, fields });
      }
    }
  }
  return lines;
}

function putAside(log: string): string[] {
  const paths: string[] = [];
  for (let index = 1; index <= KEPT_MAX && read(`${log}.${index}`) !== ""; index++) paths.unshift(`${log}.${index}`);
  return paths;
}

function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

/** A kill may cut a line short. */
function parse(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const KEPT_MAX = 9;
