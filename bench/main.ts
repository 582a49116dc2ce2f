/** `deno task bench [NAME] [--json]`: runs one measurement, or lists them. */

const BENCHES: Record<string, string> = {
  dm: "dm200: 100 clients in pairs, 200-byte bodies, at most, 500/s and 2,000/s: one server, four, Mosquitto",
  idle: "memory of an idle server and of 100 and 2,000 idle clients, and what their keep-alives cost",
  growth:
    "server CPU a message with 10, 1,000 and 100,000 messages stored in each conversation, 10,000 users; in groups of 10 and 1,000",
  receipts:
    "what the receipts of groups of 100 and 1,000 cost whoever wrote, and a server with 100 and 300 of them here",
  large_row: "one row of 1.2 MB to 200 clients of a server: time, memory and CPU until all have it",
  transport: "CPU of relaying a 200-byte message in bursts of 1, 4 and 16: ours, Deno's QUIC, TLS on TCP",
  loss: "latency of 500 messages a second at 0, 1, 5 and 20 % loss: ours and TLS on TCP over one bad path",
  resume: "200 clients, one of four servers killed: how long until everybody is back, and at what cost",
  goodput: "20 MB over 20 and 100 Mbit/s at 0, 1 and 5 % loss, and two transfers at once: ours, TCP, QUIC",
  flood: "dm200 of 100 clients while 20 addresses flood INITIALs, with and without valid tokens",
  store: "rows a second and time to commit, direct and over the link",
  takeover: "20 times kill -9 of the store's leader: how long until a message is stored again",
  key_log: "reading the key log of 10,000 users for the first time and later, and the entries of 50 contacts",
  balance: "spread of 1,000 clients over 4 and 16 servers by each strategy",
  e2ee: "one envelope by number of devices; MLS groups of 2 to 1,000 with X-Wing and X25519; RSA for each",
};

if (import.meta.main) {
  const [name, ...rest] = Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args;
  if (name === undefined || BENCHES[name] === undefined) {
    console.log("deno task bench NAME [--json]\n");
    for (const [bench, question] of Object.entries(BENCHES)) console.log(`  ${bench.padEnd(10)}${question}`);
    console.log("\n  all       every one of them, in this order");
    if (name !== undefined && name !== "all") Deno.exit(2);
  }
  const chosen = name === "all" ? Object.keys(BENCHES) : name === undefined ? [] : [name];
  for (const bench of chosen) {
    console.error(`\n${bench}: ${BENCHES[bench]}`);
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--frozen", "-A", "--no-check", new URL(`./${bench}.ts`, import.meta.url).href, ...rest],
      stdin: "null",
    }).spawn().status;
    if (code !== 0) Deno.exit(code);
  }
}
