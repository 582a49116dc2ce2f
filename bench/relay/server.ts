/**
 * The server of the relay job, in a process of its own: `deno run -A bench/relay/server.ts CARRIER HOST [--profile]
 * [--answers]`.
 *
 * Says where it listens in one line of JSON. Clients are paired in the order of their greetings and told so by an empty
 * message; from then on what comes from one goes to the other. Nothing is stored. With `--answers` every message is also
 * answered to its sender, as a chat server does, and answers of clients end here.
 */
import { startProfile } from "../profile.ts";
import { CARRIERS } from "./carriers.ts";
import type { Contact, Peer } from "./peer.ts";

/** What is said to a message where the job has answers; no message begins like it. */
export const ANSWER = new Uint8Array(16).fill(2);

/** A client as the server sees it. */
interface Client {
  readonly peer: Peer;
  partner?: Client;
}

export interface RelayProcess {
  readonly pid: number;
  readonly contact: Contact;
  stop(): Promise<void>;
}

/** Starts the server for a carrier. */
export async function startRelay(carrier: string, host: string, more: readonly string[] = []): Promise<RelayProcess> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", import.meta.filename!, carrier, host, ...more],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let line = "";
  while (!line.endsWith("\n")) {
    const { value } = await reader.read();
    if (value === undefined) throw new Error(`Cannot start the relay over ${carrier}: it ended at once`);
    line += value;
  }
  return {
    pid: child.pid,
    contact: JSON.parse(line),
    async stop() {
      await reader.cancel();
      child.kill("SIGINT");
      await child.status;
    },
  };
}

async function serve(carrier: string, host: string): Promise<void> {
  let single: Client | undefined;
  const answers = Deno.args.includes("--answers");
  const contact = await CARRIERS[carrier]!.listen(host, (peer) => {
    const client: Client = { peer };
    peer.onBatch = () => {
      client.partner?.peer.flush();
      if (answers) peer.flush();
    };
    peer.onMessage = (message) => {
      if (answers && message[0] === ANSWER[0]) return;
      if (message.length > 0) {
        client.partner?.peer.send(message);
        if (answers) peer.send(ANSWER);
        return;
      }
      if (single === undefined) {
        single = client;
        return;
      }
      client.partner = single;
      single.partner = client;
      for (const { peer } of [single, client]) {
        peer.send(message);
        peer.flush();
      }
      single = undefined;
    };
  });
  console.log(JSON.stringify(contact));
  const stop = Deno.args.includes("--profile") ? startProfile() : undefined;
  Deno.addSignalListener("SIGINT", async () => {
    for (const { share, name } of (await stop?.() ?? []).slice(0, 45)) {
      console.error(`${(share * 100).toFixed(1).padStart(6)} %  ${name}`);
    }
    Deno.exit(0);
  });
}

if (import.meta.main) await serve(Deno.args[0]!, Deno.args[1]!);
