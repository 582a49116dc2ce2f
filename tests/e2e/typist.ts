/**
 * Somebody who types: `deno run -A typist.ts SERVER HOME TO LAST`. Gives the texts 1 to LAST to `send`, from where the home
 * left off, says on standard output which number was taken, and waits until all are stored. Made to be killed.
 */
import { ChatClient } from "../../client/mod.ts";
import { PASSWORD } from "./harness.ts";

const [server, home, to, last] = Deno.args as [string, string, string, string];
const client = await ChatClient.open({ server, home, name: "alice", password: PASSWORD, register: true });

/** What this home has taken: sent or waiting. Nothing else says what was typed. */
const taken = Math.max(
  0,
  ...client.history(to, 100_000).map(({ text }) => Number(text)),
  ...client.outbox().map(({ text }) => Number(text)),
);
const out = new TextEncoder();
const sending: Promise<unknown>[] = [];
for (let number = taken + 1; number <= Number(last); number++) {
  sending.push(client.send(to, String(number)));
  Deno.stdout.writeSync(out.encode(`typed ${number}\n`));
  // As fast as a burst of short lines is typed or pasted, with packets in between.
  await new Promise((resolve) => setTimeout(resolve, 2));
}
await Promise.all(sending);
while (client.outbox().length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
Deno.stdout.writeSync(out.encode("done\n"));
await client.close();
