/**
 * What became of the store after each kill of its leader, by the servers' own logs: how much of what people waited for was the
 * store's part, and where that went. PURE.
 */

/** One line of a server's log. Lines of one server are in the order in which they were written. */
export interface LogLine {
  readonly server: number;
  /** The wall clock. */
  readonly atMs: number;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface StoreTakeover {
  /** The wall clock. */
  readonly killedMs: number;
  /** From the kill until the first of the others knew. */
  readonly noticedMs: number | undefined;
  /** From the kill until another one led; `undefined` where none did in the end. */
  readonly leadsMs: number | undefined;
  /** Of that, from the lock until the database was open and the others could come. */
  readonly openMs: number | undefined;
  /** From the kill until the last of those that had served before followed; `undefined` where there were none. */
  readonly followMs: number | undefined;
  /** No other server lived through it: who leads was started afterwards, or was just starting. */
  readonly isCold: boolean;
}

/** @param killsMs When a leader was killed, in order. */
export function takeovers(lines: readonly LogLine[], killsMs: readonly number[]): StoreTakeover[] {
  const processes = processesOf(lines);
  return killsMs.map((killedMs) => takeover(processes, killedMs));
}

/** What a process of a server wrote. */
interface Process {
  readyMs: number;
  readonly lines: LogLine[];
}

function takeover(processes: readonly Process[], killedMs: number): StoreTakeover {
  const after = (event: string) => ({ lines }: Process) =>
    lines.filter((line) => line.event === event && line.atMs >= killedMs);
  const leading = processes.flatMap((process) => after("store.leading")(process).map((line) => ({ line, process })))
    .sort((a, b) => a.line.atMs - b.line.atMs)[0];
  // What is noticed later is of another kill.
  const noticed = processes.flatMap(after("store.leader-lost")).map(({ atMs }) => atMs)
    .filter((atMs) => leading !== undefined && atMs <= leading.line.atMs);
  const had = processes.filter(({ readyMs }) => readyMs < killedMs);
  const followed = had.flatMap(after("store.following")).filter(({ fields }) =>
    fields["leadership"] === leading?.line.fields["leadership"]
  ).map(({ atMs }) => atMs);
  const openMs = leading?.line.fields["openMs"];
  return {
    killedMs,
    noticedMs: noticed.length === 0 ? undefined : Math.min(...noticed) - killedMs,
    leadsMs: leading && leading.line.atMs - killedMs,
    openMs: typeof openMs === "number" ? openMs : undefined,
    followMs: followed.length === 0 ? undefined : Math.max(...followed) - killedMs,
    isCold: leading === undefined || leading.process.readyMs >= killedMs,
  };
}

function processesOf(lines: readonly LogLine[]): Process[] {
  const processes: Process[] = [], current = new Map<number, Process>();
  for (const line of lines) {
    let process = current.get(line.server);
    if (process === undefined || line.event === "starting") {
      current.set(line.server, process = { readyMs: Infinity, lines: [] });
      processes.push(process);
    }
    if (line.event === "ready") process.readyMs = line.atMs;
    process.lines.push(line);
  }
  return processes;
}
