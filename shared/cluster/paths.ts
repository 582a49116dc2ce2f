/** Where everything lies in a data directory. One place, so that server and balancer cannot disagree. */
import { join } from "node:path";

export interface DataPaths {
  /** 0700: the cluster's keys (keys.ts). */
  readonly keys: string;
  /** 0700: locks, sockets and state files of running programs. */
  readonly run: string;
  /** 0700: bounded log files. */
  readonly log: string;
  /** Says that the store's leader is busy bringing an older database up to date (state.ts). */
  readonly migration: string;
  /** The balancer's lock, control socket, state file and log. */
  readonly balancer: ProgramPaths;
  /** The same of the server with this number; its lock is what keeps two servers from one number (SECURITY H3). */
  server(number: number): ProgramPaths;
}

export interface ProgramPaths {
  readonly lock: string;
  readonly socket: string;
  readonly state: string;
  readonly log: string;
}

export function dataPaths(dataDir: string): DataPaths {
  const run = join(dataDir, "run"), log = join(dataDir, "log");
  const program = (name: string): ProgramPaths => ({
    lock: join(run, `${name}.lock`),
    socket: join(run, `${name}.sock`),
    state: join(run, `${name}.json`),
    log: join(log, `${name}.log`),
  });
  return {
    keys: join(dataDir, "keys"),
    run,
    log,
    migration: join(run, "migration.json"),
    balancer: program("balancer"),
    server: (number) => program(`server-${number}`),
  };
}
