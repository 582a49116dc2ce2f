/** `fastchat-server`: words in, exit code out. `--help` says what it does. */
import { parseUpkeep, SERVER_STOP_MS_MAX } from "../shared/cluster/mod.ts";
import { UsageError } from "../shared/host/mod.ts";
import { formatHostPort } from "../shared/net/mod.ts";
import { VERSION } from "../shared/version.ts";
import { HELP, parseCommand, type ServerConfig } from "./config.ts";
import { Runtime } from "./runtime.ts";
import { StartError } from "./start_error.ts";
import { performUpkeep } from "./upkeep/perform.ts";

async function main(args: readonly string[]): Promise<number> {
  const upkeep = parseUpkeep(args);
  if (upkeep !== undefined) {
    return await performUpkeep(upkeep, {
      print: (text) => print(Deno.stdout, text),
      tell: (text) => print(Deno.stderr, text),
    });
  }
  const command = parseCommand(args, (name) => Deno.env.get(name));
  switch (command.type) {
    case "help":
      print(Deno.stdout, HELP);
      return 0;
    case "version":
      print(Deno.stdout, `fastchat-server ${VERSION}\n`);
      return 0;
    case "run":
      return await run(command.config);
  }
}

async function run(config: ServerConfig): Promise<number> {
  const runtime = await Runtime.start(config);
  const { host, port } = runtime.address;
  watchForSignals((why) => runtime.requestStop(why));
  watchForBugs(runtime);
  print(Deno.stdout, `ready ${formatHostPort(host, port)} number=${runtime.number}\n`);
  const why = config.smoke ? "smoke test" : await runtime.stopRequested;
  // Whoever asked counts on the end: better an abrupt one than none.
  setTimeout(() => Deno.exit(1), SERVER_STOP_MS_MAX - 500);
  await runtime.stop(why);
  return 0;
}

function watchForSignals(stop: (why: string) => void): void {
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT", "SIGBREAK"] : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) Deno.addSignalListener(signal, () => stop(signal));
}

/**
 * A mistake of ours in one request must not end everybody's connections; it is logged with its stack. An error that left the
 * event loop may have left anything half done: then it is better to begin anew, which the balancer sees to.
 */
function watchForBugs(runtime: Runtime): void {
  addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    runtime.logger.log("error", "unhandled-rejection", { error: event.reason, stack: stackOf(event.reason) });
  });
  addEventListener("error", (event) => {
    event.preventDefault();
    runtime.logger.log("error", "uncaught-error", { error: event.error, stack: stackOf(event.error) });
    Deno.exit(1);
  });
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : undefined;
}

function print(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  try {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
  } catch { /* a reader that went away is no reason to stop serving */ }
}

if (import.meta.main) {
  let code: number;
  try {
    code = await main(Deno.args);
  } catch (error) {
    if (error instanceof UsageError) {
      print(Deno.stderr, `${error.message}\nfastchat-server --help shows how\n`);
      code = 2;
    } else if (error instanceof StartError) {
      print(Deno.stderr, `${error.message}\n`);
      code = error.exitCode;
    } else {
      print(Deno.stderr, `Failed: ${(error as Error).message ?? error}\n`);
      code = 1;
    }
  }
  Deno.exit(code);
}
