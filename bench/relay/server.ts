/**
 * The server of the relay job, in a process of its own: `deno run -A bench/relay/server.ts CARRIER HOST [--profile]
 * [--answers]`.
 *
 * Says where it listens in one line of JSON. A client's first message is one byte, its pair. Once both are there they are
 * told so by an empty message; from then on what comes from one goes to the other. Nothing is stored. With `--answers` every
 * message is also answered to its sender, as a chat server does, and answers of clients end here.
 */
import { startProfile } from "../profile.ts";
import { CARRIERS } from "./carriers.ts";
import type { Peer } from "./peer.ts";
import { ServerProcess } from "./process.ts";

/** What is said to a message where the job has answers; no message begins like it. */
export const ANSWER = new Uint8Array(16).fill(2);

/** A client as the server sees it. */
interface Client {
  readonly peer: Peer;
  partner?: Client;
}

/** Starts the server for a carrier. */
export function startRelay(carrier: string, host: string, more: readonly string[] = []): Promise<ServerProcess> {
  return ServerProcess.start(import.meta.url, [carrier, host, ...more]);
}

async function serve(carrier: string, host: string, isAnswering: boolean): Promise<void> {
  const singles = new Map<number, Client>();
  const contact = await CARRIERS[carrier]!.listen(host, (peer) => {
    const client: Client = { peer };
    peer.onMessage = (greeting) => introduce(client, greeting[0]!);
    peer.onBatch = () => {
      client.partner?.peer.flush();
      if (isAnswering) peer.flush();
    };
  });

  function introduce(client: Client, pair: number): void {
    const partner = singles.get(pair);
    if (partner === undefined) {
      singles.set(pair, client);
      return;
    }
    client.partner = partner;
    partner.partner = client;
    for (const { peer } of [client, partner]) {
      peer.send(new Uint8Array(0));
      peer.flush();
    }
    relay(client, partner.peer);
    relay(partner, client.peer);
  }

  function relay({ peer }: Client, partner: Peer): void {
    peer.onMessage = isAnswering ? (message) => answered(peer, partner, message) : (message) => partner.send(message);
  }

  console.log(JSON.stringify(contact));
  const stop = Deno.args.includes("--profile") ? startProfile() : undefined;
  Deno.addSignalListener("SIGINT", async () => {
    for (const { share, name } of (await stop?.() ?? []).slice(0, 45)) {
      console.error(`${(share * 100).toFixed(1).padStart(6)} %  ${name}`);
    }
    Deno.exit(0);
  });
}

function answered(peer: Peer, partner: Peer, message: Uint8Array): void {
  if (message[0] === ANSWER[0]) return;
  partner.send(message);
  peer.send(ANSWER);
}

if (import.meta.main) await serve(Deno.args[0]!, Deno.args[1]!, Deno.args.includes("--answers"));
