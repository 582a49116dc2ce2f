/**
 * A server that only takes, in a process of its own: `deno run -A bench/relay/sink.ts CARRIER HOST`.
 *
 * First line: where it listens. Then, every 20 ms in which something came, a {@linkcode Progress} in JSON. A client's first
 * message is a greeting of one byte: its number.
 */
import { CARRIERS } from "./carriers.ts";
import { ServerProcess } from "./process.ts";

/** By the number of the client. */
export type Progress = Readonly<Record<string, Received>>;

export interface Received {
  readonly bytes: number;
  /** When the last of them came, in Unix milliseconds. */
  readonly atMs: number;
}

export function startSink(carrier: string, host: string): Promise<ServerProcess> {
  return ServerProcess.start(import.meta.url, [carrier, host]);
}

async function serve(carrier: string, host: string): Promise<void> {
  const progress: Record<string, Received> = {};
  let hasNews = false;
  const contact = await CARRIERS[carrier]!.listen(host, (peer) => {
    let client: number | undefined, bytes = 0;
    peer.onMessage = (message) => {
      if (client === undefined) {
        client = message[0]!;
      } else {
        bytes += message.length;
      }
      progress[client] = { bytes, atMs: performance.timeOrigin + performance.now() };
      hasNews = true;
    };
  });
  console.log(JSON.stringify(contact));
  setInterval(() => {
    if (hasNews) console.log(JSON.stringify(progress));
    hasNews = false;
  }, 20);
}

if (import.meta.main) await serve(Deno.args[0]!, Deno.args[1]!);
