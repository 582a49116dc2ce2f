/** How every measurement is told: a table for people, or with `--json` an object per row for programs. */

/** One row: what was measured, and figures with their unit in the name. */
export interface Row {
  readonly bench: string;
  readonly subject: string;
  readonly [figure: string]: string | number;
}

/** Prints rows that share their columns. */
export function report(rows: readonly Row[], args: readonly string[] = Deno.args): void {
  if (args.includes("--json")) {
    for (const row of rows) console.log(JSON.stringify(row));
    return;
  }
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => name !== "bench");
  const cells = [columns, ...rows.map((row) => columns.map((name) => format(row[name])))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]!.length)));
  for (const line of cells) {
    console.log(line.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  "));
  }
}

/** The value below which the share `p` (0 to 1) of the values lies; NaN of none. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted.length === 0 ? NaN : sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))]!;
}

/** User and system time of a process so far, in µs; `undefined` where there is no /proc. */
export function processCpuUs(pid: number): number | undefined {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    // utime and stime, in clock ticks: 100 a second on every Linux that Deno runs on.
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return undefined;
  }
}

/** Resident memory of a process in KiB; `undefined` where there is no /proc. */
export function processMemoryKiB(pid: number): number | undefined {
  try {
    const match = /^VmRSS:\s+(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
    return match ? Number(match[1]) : undefined;
  } catch {
    return undefined;
  }
}

/** Datagrams that found the receive buffer of these UDP ports full, by Linux's count since their sockets exist; 0 elsewhere. */
export function kernelDrops(portsWanted: readonly number[]): number {
  let text: string;
  try {
    text = Deno.readTextFileSync("/proc/net/udp");
  } catch {
    return 0;
  }
  const ports = new Set(portsWanted.map((port) => port.toString(16).toUpperCase().padStart(4, "0")));
  let drops = 0;
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (ports.has(fields[1]?.split(":")[1] ?? "")) drops += Number(fields.at(-1));
  }
  return drops;
}

function format(value: string | number | undefined): string {
  if (value === undefined) return "-";
  if (typeof value === "string") return value;
  return Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : 1);
}
