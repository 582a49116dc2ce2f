/**
 * `deno task demo`: a balancer with servers in a temporary folder, two people and an echo bot who talk through a relay that
 * records every datagram. Prints the conversation and, from counters, what happened underneath. On a terminal it then leaves
 * you in a chat with the bot.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ChatClient } from "../../client/mod.ts";
import { ChatFace } from "../../client/faces/chat.ts";
import { paint, paintName, printLine } from "../../client/output.ts";
import { Relay } from "../relay.ts";

const SERVERS = 4;
const PASSWORD = "a demo needs no secret word";
const LINES: readonly (readonly [from: "alice" | "bob", to: string, text: string])[] = [
  ["alice", "bob", "did you see the build? it went green"],
  ["bob", "alice", "yes, thanks. lunch at noon?"],
  ["alice", "bob", "noon it is"],
  ["bob", "echo", "are you awake, bot?"],
  ["alice", "echo", "日本語もだいじょうぶ？"],
];

if (import.meta.main) {
  const folder = await Deno.makeTempDir({ prefix: "fastchat-demo-" });
  const data = join(folder, "data");
  const began = performance.now();
  say(`Starting a balancer and ${SERVERS} servers in ${folder} …`);
  const { balancer, port } = await startBalancer(data);
  const relay = new Relay({ record: true, rewriteLocated: true });
  const clients: ChatClient[] = [];
  try {
    const front = relay.map("127.0.0.1", port);
    const server = `${front.host}:${front.port}`;
    say(
      `ready after ${
        seconds(began)
      } s. alice, bob and the bot sign up: each makes an RSA-3072 identity and device keys …`,
    );
    clients.push(...await Promise.all(["alice", "bob", "echo"].map((name) => signUp(name, server, folder))));
    const [alice, bob, echo] = clients as [ChatClient, ChatClient, ChatClient];
    const bot = runBot(echo);
    say(`signed up after ${seconds(began)} s.\n`);
    await talk({ alice, bob });
    explain(clients, relay, data);
    if (Deno.stdin.isTerminal() && Deno.stdout.isTerminal()) {
      say("\nNow you: signing you up as “you” …");
      const you = await signUp("you", server, folder);
      clients.push(you);
      await new ChatFace(you, { to: "echo" }).run(new AbortController().signal);
    }
    await Promise.all(clients.map((client) => client.close()));
    await bot;
  } finally {
    relay.close();
    balancer.kill("SIGTERM");
    await balancer.status;
    await Deno.remove(folder, { recursive: true });
  }
  Deno.exit(0);
}

function signUp(name: string, server: string, folder: string): Promise<ChatClient> {
  // Three people make keys at once: a machine with other things to do takes its time.
  const timeoutMs = 90_000;
  return ChatClient.open({ server, home: join(folder, name), name, password: PASSWORD, register: true, timeoutMs });
}

/** Answers every message with its own text. */
async function runBot(echo: ChatClient): Promise<void> {
  for await (const event of echo.events()) {
    if (event.type === "message" && event.from !== echo.name) await echo.send(event.from, `you said: ${event.text}`);
  }
}

/** Says each line and waits until whoever it is for has it, and what they answer if they are the bot. */
async function talk(people: { alice: ChatClient; bob: ChatClient }): Promise<void> {
  for (const [from, to, text] of LINES) {
    const sender = people[from];
    const begin = performance.now();
    const heard = to === "echo" ? hear(sender, "echo") : hear(people[to as "alice" | "bob"], from);
    await sender.send(to, text);
    const stored = performance.now() - begin;
    const answer = await heard;
    const arrived = performance.now() - begin;
    printLine(
      `  ${paintName(from.padStart(5))} → ${to.padEnd(5)}  ${text}  ` +
        paint(
          "dim",
          `(stored ${stored.toFixed(0)} ms, ${to === "echo" ? "answered" : "read"} ${arrived.toFixed(0)} ms)`,
        ),
    );
    if (to === "echo") printLine(`  ${paintName(" echo")} → ${from.padEnd(5)}  ${answer}`);
  }
}

/** The next text that `reader` gets from `from`. */
async function hear(reader: ChatClient, from: string): Promise<string> {
  for await (const event of reader.events()) {
    if (event.type === "message" && event.from === from) return event.text;
  }
  throw new Error(`${reader.name} was closed before ${from} wrote`);
}

function explain(clients: readonly ChatClient[], relay: Relay, data: string): void {
  say("\nUnderneath:");
  for (const client of clients) {
    const { datagramsSent, datagramsReceived, bytesSent, bytesReceived, rttUs } = client.stats;
    say(
      `  ${client.name.padEnd(5)} on server ${serverOf(client, relay, data)} of ${SERVERS}: ` +
        `sent ${datagramsSent} datagrams (${kilo(bytesSent)}), ` +
        `got ${datagramsReceived} (${kilo(bytesReceived)}), ` +
        `rtt ${(rttUs / 1000).toFixed(1)} ms`,
    );
  }
  const texts = LINES.map(([, , text]) => new TextEncoder().encode(text));
  const wire = relay.recorded.map(({ bytes }) => bytes);
  const files = readFiles(data);
  const wireBytes = wire.reduce((sum, bytes) => sum + bytes.length, 0);
  const fileBytes = files.reduce((sum, bytes) => sum + bytes.length, 0);
  const found = [...wire, ...files].filter((bytes) => texts.some((text) => contains(bytes, text))).length;
  say(
    `  searched ${wire.length} recorded datagrams (${kilo(wireBytes)}) and ` +
      `${files.length} files of the servers\n  (${kilo(fileBytes)}) ` +
      `for the ${texts.length} texts above: found in ${found} of them`,
  );
  if (found > 0) throw new Error("A text was readable on its way");
}

/** The number of the server behind the relay's port that this client is connected to. */
function serverOf(client: ChatClient, relay: Relay, data: string): number {
  for (let number = 0; number < SERVERS; number++) {
    const { port } = JSON.parse(Deno.readTextFileSync(join(data, "run", `server-${number}.json`)));
    const front = relay.map("127.0.0.1", port);
    if (client.connectedTo === `${front.host}:${front.port}`) return number;
  }
  throw new Error(`${client.name} is connected to ${client.connectedTo}, which is no server of ours`);
}

function readFiles(folder: string): Uint8Array[] {
  return [...Deno.readDirSync(folder)].flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory) return readFiles(path);
    if (!entry.isFile) return [];
    try {
      return [Deno.readFileSync(path)];
    } catch (error) {
      // A server at work may have put another file in its place meanwhile.
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  });
}

function contains(haystack: Uint8Array, needle: Uint8Array): boolean {
  for (let at = haystack.indexOf(needle[0]!); at >= 0; at = haystack.indexOf(needle[0]!, at + 1)) {
    if (needle.every((byte, i) => haystack[at + i] === byte)) return true;
  }
  return false;
}

async function startBalancer(data: string): Promise<{ balancer: Deno.ChildProcess; port: number }> {
  const balancer = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "-A",
      fileURLToPath(new URL("../../balancer/main.ts", import.meta.url)),
      ...[String(SERVERS), "0", "--host", "127.0.0.1", "--data", data],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let output = "";
  for await (const piece of balancer.stdout.pipeThrough(new TextDecoderStream())) {
    output += piece;
    const ready = /^ready \S+:(\d+) /m.exec(output);
    if (ready) return { balancer, port: Number(ready[1]) };
  }
  throw new Error("The balancer ended before it was ready");
}

function say(text: string): void {
  printLine(text);
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1);
}

function kilo(bytes: number): string {
  return `${(bytes / 1000).toFixed(1)} kB`;
}
