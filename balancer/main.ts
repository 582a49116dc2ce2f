/** `fastchat-balancer`: words in, exit code out. `--help` says what it does. */
import { dirname } from "node:path";
import { dataPaths, parseUpkeep, type Upkeep, upkeepWords } from "../shared/cluster/mod.ts";
import { ControlError, FileLock, LogFile, UsageError } from "../shared/host/mod.ts";
import { VERSION } from "../shared/version.ts";
import { findServers } from "./adoption.ts";
import { type BalancerConfig, HELP, HUNG_AFTER_S, parseCommand } from "./config.ts";
import { askBalancer, formatStatus, stopBalancer } from "./control.ts";
import { isDataDir, liveDataDirs } from "./data_dir.ts";
import { Fleet } from "./fleet.ts";
import { runBalancer } from "./run.ts";
import { runUpkeep } from "./spawner.ts";
import { StartError } from "./start_error.ts";

async function main(args: readonly string[]): Promise<number> {
  const upkeep = parseUpkeep(args);
  if (upkeep !== undefined) return await keepUp(upkeep);
  const command = parseCommand(args);
  switch (command.type) {
    case "help":
      if (command.asked) print(HELP);
      else printError(HELP);
      return command.asked ? 0 : 2;
    case "version":
      print(`fastchat-balancer ${VERSION}\n`);
      return 0;
    case "run":
      return await run(command.config);
    case "status":
      return await status(command.dataDir, command.json);
    case "stop":
      return await stop(command.dataDir);
  }
}

async function run(config: BalancerConfig): Promise<number> {
  const asked = Promise.withResolvers<string>();
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT", "SIGBREAK"] : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) Deno.addSignalListener(signal, () => asked.resolve(signal));
  const watched = Deno.stderr.isTerminal();
  await runBalancer(config, {
    ready: (line) => print(line + "\n"),
    progress: (line) => watched && printError(line + "\n"),
    stop: asked.promise,
  });
  return 0;
}

async function status(wanted: string | undefined, json: boolean): Promise<number> {
  const dataDir = await resolveDataDir(wanted);
  try {
    const answer = await askBalancer(dataDir);
    print((json ? JSON.stringify(answer) : formatStatus(answer)) + "\n");
    return 0;
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    throw new StartError(1, `No balancer answers on ${dataDir}. Its servers, if any, go on without it`);
  }
}

async function stop(wanted: string | undefined): Promise<number> {
  const dataDir = await resolveDataDir(wanted);
  let stopped: number;
  try {
    stopped = await stopBalancer(dataDir);
    // The answer comes from a balancer that has yet to let go of its lock.
    (await FileLock.acquire(dataPaths(dataDir).balancer.lock, { signal: AbortSignal.timeout(EXIT_MS_MAX) })).release();
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    stopped = await stopOrphans(dataDir);
  }
  const what = stopped === 1 ? "1 server" : `${stopped} servers`;
  printError(stopped === 0 ? `Nothing runs on ${dataDir}\n` : `Stopped ${what} on ${dataDir}\n`);
  return 0;
}

/** A server's program does it, beside those that run. */
async function keepUp(upkeep: Upkeep): Promise<number> {
  if (upkeep.type === "check") {
    const dataDir = upkeep.dataDir ?? await resolveDataDir(undefined);
    return await runUpkeep(upkeepWords({ ...upkeep, dataDir }), dataDir);
  }
  const folder = dirname(upkeep.file);
  if (upkeep.type === "backup") {
    const dataDir = upkeep.dataDir ?? await resolveDataDir(undefined);
    return await runUpkeep(upkeepWords({ ...upkeep, dataDir }), dataDir, folder);
  }
  return await runUpkeep(upkeepWords(upkeep), upkeep.dataDir ?? folder, folder);
}

/** Servers whose balancer was killed are stopped from here, by the same rules. */
async function stopOrphans(dataDir: string): Promise<number> {
  const paths = dataPaths(dataDir);
  using lock = await FileLock.tryAcquire(paths.balancer.lock);
  if (lock === undefined) {
    const pid = await FileLock.holder(paths.balancer.lock);
    throw new StartError(
      1,
      `The balancer on ${dataDir} (pid ${pid}) holds it but does not answer; end it with: kill ${pid}`,
    );
  }
  const settings = { dataDir, host: "", advertise: "", serverArguments: [] };
  const found = await findServers(settings, VERSION);
  const logger = new LogFile(paths.balancer.log);
  await new Fleet({ settings, servers: 0, port: 0, found, logger, hungAfterS: HUNG_AFTER_S }).stop();
  logger.close();
  return found.length;
}

async function resolveDataDir(wanted: string | undefined): Promise<string> {
  if (wanted !== undefined) {
    if (await isDataDir(wanted)) return wanted;
    throw new UsageError(`${wanted} is not a balancer's data directory`);
  }
  const live = await liveDataDirs();
  if (live.length === 1) return live[0]!;
  if (live.length === 0) throw new StartError(1, "No balancer of yours runs in its default directory: say --data DIR");
  throw new UsageError(`Several balancers run; choose one:\n${live.map((dir) => `  --data ${dir}`).join("\n")}`);
}

function print(text: string): void {
  write(Deno.stdout, text);
}

function printError(text: string): void {
  write(Deno.stderr, text);
}

/** A reader that went away is no reason to stop serving. */
function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  try {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
  } catch { /* broken pipe */ }
}

const EXIT_MS_MAX = 10_000;

if (import.meta.main) {
  let code: number;
  try {
    code = await main(Deno.args);
  } catch (error) {
    if (error instanceof UsageError) {
      printError(`${error.message}\nfastchat-balancer --help shows how\n`);
      code = 2;
    } else if (error instanceof StartError) {
      printError(`${error.message}\n`);
      code = error.exitCode;
    } else {
      printError(`Failed: ${(error as Error).stack ?? error}\n`);
      code = 1;
    }
  }
  Deno.exit(code);
}
