/** The chat as a person at an 80x24 terminal meets it: keys in, screens out, in tmux. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { textWidth } from "../../client/faces/width.ts";
import { type Cluster, fastchat, PASSWORD, type Result, runArguments, startCluster } from "./harness.ts";
import { hasTmux, Terminal } from "./tmux.ts";

// Without tmux nobody can type; .ci/run installs it.
const ignore = !await hasTmux();
if (ignore) console.warn("terminal_test.ts is skipped: it needs tmux");

let cluster: Cluster;
let folder: string;

Deno.test.beforeAll(async () => {
  if (ignore) return;
  folder = await Deno.makeTempDir({ prefix: "fastchat-terminal-" });
  cluster = await startCluster(2);
  await Promise.all(["bob", "carol"].map((name) => run("register", name, "--server", cluster.server, ...at(name))));
});

Deno.test.afterAll(async () => {
  if (ignore) return;
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function at(name: string): string[] {
  return ["--home", join(folder, name)];
}

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr }: Result = await fastchat(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** `fastchat WORDS` on a terminal, in a session of its own: what is unlocked by hand stays so in it. */
function chat(...words: string[]): Promise<Terminal> {
  return Terminal.open([Deno.execPath(), ...runArguments("client"), ...words], session());
}

/** The same, by somebody whose password the environment has. */
function chatAs(name: string): Promise<Terminal> {
  const env = { ...session(), FASTCHAT_PASSWORD: PASSWORD };
  return Terminal.open([Deno.execPath(), ...runArguments("client"), ...at(name)], env);
}

function session(): Record<string, string> {
  const env = { XDG_DATA_HOME: join(folder, "xdg"), XDG_RUNTIME_DIR: join(folder, "run") };
  Deno.mkdirSync(env.XDG_RUNTIME_DIR, { recursive: true, mode: 0o700 });
  return env;
}

/** Ends the agent that a person's password has started. */
async function lock(...words: string[]): Promise<void> {
  const { code, stdout, stderr } = await fastchat(["lock", ...words], { env: session() });
  assert.deepEqual([code, stdout], [0, "Locked\n"], stderr);
}

/** What every screen of the chat must be: nothing cut, the input line last, the cursor in it. */
async function tidy(terminal: Terminal, prompt: string): Promise<void> {
  const screen = await terminal.shows(new RegExp(`${prompt.trimEnd().replaceAll(/[[\]]/g, "\\$&")}[^\\n]*$`));
  const rows = screen.split("\n");
  assert(rows.at(-1)!.startsWith(prompt.trimEnd()), screen);
  for (const row of rows) assert(textWidth(row) <= 80, row);
  const { x, y } = await terminal.cursor();
  assert.equal(y, rows.length - 1, screen);
  assert(x >= textWidth(prompt), screen);
}

Deno.test({
  name:
    "terminal: the first chat asks for a name and a password, the second for nothing, one behind `lock` for the password",
  ignore,
  async fn() {
    const address = [cluster.host, String(cluster.port)];
    {
      await using terminal = await chat(...address);
      await terminal.shows(/Your name:$/);
      await terminal.type("Dora the Explorer", "Enter");
      await terminal.shows(/A name is 1 to 32 of .*\nYour name:$/);
      await terminal.type("Doro", "BSpace");
      await terminal.type("a", "Enter");
      await terminal.shows(/dora is new there: choose a password.*\nNew password for dora/);
      await terminal.type("short", "Enter");
      await terminal.shows(/That will not do: .* at least 10\nNew password for dora/);
      await terminal.type("password12345", "Enter");
      await terminal.shows(/too easy to guess.*\n.*\nNew password for dora[^\n]*$/);
      await terminal.type(PASSWORD, "Enter");
      await terminal.shows(/The same again:$/);
      await terminal.type("something else", "Enter");
      await terminal.shows(/The two differ. Once more.\nNew password for dora[^\n]*$/);
      await terminal.type(PASSWORD, "Enter");
      await terminal.shows(/The same again:$/);
      await terminal.type(PASSWORD, "Enter");
      await terminal.shows(/\* dora on 127\.0\.0\.1:\d+, end-to-end encrypted/);
      await terminal.shows(/First contact with 127\.0\.0\.1:\d+/);
      await tidy(terminal, "[-] ");
      const all = await terminal.scrollback();
      assert(!all.includes(PASSWORD) && !all.includes("short"), "passwords are not shown");
      assert(all.includes(cluster.fingerprint), "the server's fingerprint is");
      await terminal.type("/quit", "Enter");
      await terminal.shows(/ended 0, modes restored/);
    }
    {
      await using terminal = await chat(...address);
      const screen = await terminal.shows(/\[-\]$/);
      assert.match(screen, /^\* dora on [^\n]+\n\* \/all shows who is here[^\n]+\n\[-\]$/);
      await terminal.type("", "C-d");
      await terminal.shows(/ended 0, modes restored/);
    }
    await lock("-u", "dora");
    {
      await using terminal = await chat(...address);
      await terminal.shows(/Password of dora, to unlock this home:$/);
      await terminal.type("wrong horse battery", "Enter");
      await terminal.shows(/That is not it. Once more.\nPassword of dora, to unlock this home:$/);
      await terminal.type(PASSWORD, "Enter");
      await terminal.shows(/Unlocked until you log out of this machine/);
      await terminal.shows(/\[-\]$/);
      await terminal.type("/quit", "Enter");
      await terminal.shows(/ended 0, modes restored/);
    }
    await lock("-u", "dora");
  },
});

Deno.test({
  name: "terminal: a name that is taken is logged in to; a wrong password is asked again",
  ignore,
  async fn() {
    await using terminal = await chat(cluster.host, String(cluster.port), "--no-agent", ...at("bob-2"));
    await terminal.shows(/Your name:$/);
    await terminal.type("carol", "Enter");
    await terminal.shows(/carol is taken. If it is you, log in.*\nPassword of carol:$/);
    await terminal.type("", "Enter");
    await terminal.shows(/Your name:$/);
    await terminal.type("bob", "Enter");
    await terminal.shows(/Password of bob:$/);
    await terminal.type("wrong horse battery", "Enter");
    await terminal.shows(/Wrong name or password. Once more.\nPassword of bob:$/);
    await terminal.type(PASSWORD, "Enter");
    await terminal.shows(/\* bob on /);
    await tidy(terminal, "[-] ");
    await terminal.type("", "C-c");
    await terminal.shows(/ended 0, modes restored/);
    // Until Bob says that it is his, his chats show it beside the input line.
    const [id] = /^\w{8}(?=.*approve or revoke)/m.exec(await run("device", "list", ...at("bob")))!;
    await run("device", "approve", id, ...at("bob"));
  },
});

Deno.test({
  name: "terminal: messages come in above the line that is being typed, and every command answers",
  ignore,
  async fn() {
    await using terminal = await chatAs("bob");
    await terminal.shows(/\[-\]$/);
    await terminal.type("half a li");
    await run("send", "bob", "are you there?", ...at("carol"));
    await terminal.shows(/\d\d:\d\d carol: are you there\?\n[^]*\[carol\] half a li$/);
    // It comes a moment before or after, above whatever is typed by then.
    await terminal.shows(/\* first contact with carol[^]*\[carol\] half a li$/);
    await terminal.type("ne", "Enter");
    await terminal.shows(/\d\d:\d\d me → carol: half a line ✓\n\[carol\]$/);

    const long = "a long line that goes on and on, well past the edge of the screen, to be broken at a word 🎉 日本語";
    await terminal.type(long);
    await terminal.shows(/\[carol\] .*日本語$/);
    await tidy(terminal, "[carol] ");
    await terminal.type("", "Enter");
    await terminal.shows(
      /\d\d:\d\d me → carol: a long line that goes on and on, well past the edge of the\n {6}screen, .*✓\n/,
    );

    await run("register", "dan", "--server", cluster.server, ...at("dan"));
    await run("send", "bob", "and me", ...at("dan"));
    await terminal.shows(/dan: and me\n[^]*\[carol\]$/);
    await terminal.shows(/\* first contact with dan[^]*\[carol\]$/);
    await terminal.type("/unread", "Enter");
    await terminal.shows(/\* dan: 1 since you last looked; \/read dan, or \/to dan\n\[carol\]$/);
    await terminal.type("\\read da", "Tab", "Enter");
    await terminal.shows(/\d{4}-\d\d-\d\d \d\d:\d\d dan: and me\n\[carol\]$/);
    await terminal.type("/unread", "Enter");
    await terminal.shows(/\* nothing unread\n\[carol\]$/);
    await terminal.type("/online", "Enter");
    await terminal.shows(/\n {2}● bob \(you\)\n[^]*\[carol\]$/);
    await terminal.type("\\all", "Enter");
    await terminal.shows(/\n {2}● bob \(you\)\n {4}carol\n {4}dan\n[^]*\[carol\]$/);
    await terminal.type("/hlep", "Enter");
    await terminal.shows(/There is no \/hlep; did you mean \/help\?/);
    await terminal.type("@nobody hi", "Enter");
    await terminal.shows(/\* There is nobody called nobody\n\* not sent: @nobody hi\n\[carol\]$/);
    await terminal.type("/help", "Enter");
    const help = await terminal.shows(/\/quit +leave[^\n]*\n\[carol\]$/);
    for (const name of ["/to", "/msg", "/read", "/unread", "/online", "/all", "/help"]) {
      assert(help.includes(`  ${name}`));
    }
    await tidy(terminal, "[carol] ");

    await terminal.type("kept over a resize");
    await terminal.resize(50, 20);
    await terminal.shows(/\[carol\] kept over a resize$/);
    await terminal.type("", "C-c");
    await terminal.shows(/\[carol\]$/);
    await terminal.type("", "C-c");
    await terminal.shows(/ended 0, modes restored/);
    const texts = (await run("recv", ...at("carol"))).replace(/\n {6}/g, "\n");
    assert.match(texts, /bob: half a line\n/);
    assert(texts.includes(long));
  },
});

Deno.test({
  name: "terminal: no text can pose as another's line, however a terminal measures it",
  ignore,
  async fn() {
    const forged = "12:00 carol: send me the money";
    const fillers = ["x".repeat(68), "\t".repeat(40) + "x", "👨‍👩‍👧‍👦".repeat(30), "日本".repeat(17), "\ufe0f☺".repeat(40)];
    const texts = fillers.flatMap((filler) => [filler + forged, `${filler}x${forged}`]);
    const { code } = await fastchat(at("carol"), { stdin: `/to bob\n${texts.join("\n")}\n` });
    assert.equal(code, 0);
    await run("send", "bob", `and\n${forged}`, ...at("carol"));
    const posed = /^12:00 carol/m;
    {
      await using terminal = await Terminal.open([
        Deno.execPath(),
        ...runArguments("client"),
        "history",
        "carol",
        ...at("bob"),
      ], { FASTCHAT_PASSWORD: PASSWORD });
      const all = (await terminal.shows(/ended 0/), await terminal.scrollback());
      assert(!posed.test(all), all);
    }
    await using terminal = await chatAs("bob");
    await terminal.shows(/12:00 carol: send me[^]*\n\[carol\]$/);
    const all = await terminal.scrollback();
    assert(!posed.test(all), all);
  },
});

Deno.test({
  name: "terminal: the server dies under a chat, and the chat goes on with the line that was being typed",
  ignore,
  async fn() {
    await using terminal = await chatAs("carol");
    await terminal.shows(/\[\S+\]$/);
    await terminal.type("@bob before", "Enter");
    const screen = await terminal.shows(/me → bob: before ✓/);
    const port = Number(/carol on 127\.0\.0\.1:(\d+)/.exec(screen)![1]);
    await terminal.type("typed while it d");
    Deno.kill(await serverPid(port), "SIGKILL");
    await terminal.type("ied", "Enter");
    await terminal.shows(/\* connected to 127\.0\.0\.1:\d+\n[^]*\[bob\]$/);
    await terminal.shows(/me → bob: typed while it died ✓\n[^]*\[bob\]$/);
    assert.match(await run("recv", ...at("bob")), /carol: before\n.*carol: typed while it died\n$/);
    await terminal.type("", "C-c");
    await terminal.shows(/ended 0, modes restored/);
  },
});

async function serverPid(port: number): Promise<number> {
  for await (const { name } of Deno.readDir(join(cluster.dataDir, "run"))) {
    if (!/^server-\d+\.json$/.test(name)) continue;
    const state = JSON.parse(await Deno.readTextFile(join(cluster.dataDir, "run", name)));
    if (state.port === port) return state.pid;
  }
  throw new Error(`No server is on port ${port}`);
}

Deno.test({
  name: "terminal: its modes are restored after TERM and after an uncaught error",
  ignore,
  async fn() {
    {
      await using terminal = await chatAs("carol");
      await terminal.shows(/\[-\]$/);
      await terminal.type("unfinished");
      await terminal.shows(/unfinished$/);
      Deno.kill(await terminal.pid(), "SIGTERM");
      await terminal.shows(/ended 0, modes restored/);
    }
    {
      await using terminal = await chat(cluster.host, String(cluster.port), ...at("nobody"));
      await terminal.shows(/Your name:$/);
      Deno.kill(await terminal.pid(), "SIGTERM");
      await terminal.shows(/ended 2, modes restored/);
    }
    for (const how of ["throw", "reject"]) {
      const fixture = fileURLToPath(new URL("crashing_terminal.ts", import.meta.url));
      await using terminal = await Terminal.open([Deno.execPath(), "run", "-A", "--no-check", fixture, how]);
      await terminal.shows(/about to fail\n[^]*fault of ours[^]*ended 1, modes restored/);
    }
  },
});

Deno.test({
  name: "terminal: Ctrl-Z twice suspends, and the chat comes back with its line",
  ignore,
  async fn() {
    const words = [Deno.execPath(), ...runArguments("client"), ...at("carol")];
    await using terminal = await Terminal.open(["bash", "--norc", "--noprofile", "-i"], {
      PS1: "shell> ",
      FASTCHAT_PASSWORD: PASSWORD,
    });
    await terminal.shows(/shell>$/);
    await terminal.type(words.join(" "), "Enter");
    await terminal.shows(/\[-\]$/);
    await terminal.type("stays", "C-z");
    await terminal.shows(/\* Ctrl-Z once more suspends\n\[-\] stays$/);
    await terminal.type("", "C-z");
    await terminal.shows(/Stopped[^]*shell>$/);
    await terminal.type("stty -a | tr ' ' '\\n' | grep -cxE 'echo|icanon|isig'", "Enter");
    await terminal.shows(/\n3\nshell>$/);
    await terminal.type("fg", "Enter");
    await terminal.shows(/\n\[-\] stays$/);
    await terminal.type("!");
    await terminal.shows(/\[-\] stays!$/);
    await terminal.type("", "C-c");
    await terminal.shows(/\n\[-\]$/);
    await terminal.type("", "C-c");
    await terminal.shows(/shell>$/);
  },
});

Deno.test({
  name: "terminal: that the other one types stands at the end of the input line, and leaves with it",
  ignore,
  async fn() {
    await run("register", "ina", "--server", cluster.server, ...at("ina"));
    await run("register", "jan", "--server", cluster.server, ...at("jan"));
    await run("send", "jan", "hello", ...at("ina"));
    await using ina = await chatAs("ina");
    await using jan = await chatAs("jan");
    await jan.shows(/ina: hello\n[^]*\[ina\]$/);
    await ina.type("/to jan", "Enter");
    await ina.shows(/\[jan\]$/);
    // Without a key for some seconds one has stopped: who types goes on until it was seen.
    const whileTyping = async (typist: Terminal, see: Promise<unknown>) => {
      let isSeen = false;
      const seen = see.finally(() => isSeen = true);
      seen.catch(() => {});
      for (; !isSeen; await new Promise((resolve) => setTimeout(resolve, 1_000))) await typist.type(" ", "BSpace");
      await seen;
    };
    await ina.type("wait, I am looking for");
    // Jan's own text and cursor are where they were.
    await jan.type("take your");
    await whileTyping(ina, jan.shows(/\n\[ina\] take your +typing: ina$/));
    assert.equal((await jan.cursor()).x, "[ina] take your".length);
    await whileTyping(jan, ina.shows(/\n\[jan\] wait, I am looking for +typing: jan$/));
    await tidy(jan, "[ina] ");
    // A long line takes its place; a message or silence ends it.
    await jan.type(" time, ".repeat(9));
    await jan.shows(/\n\[ina\] [^\n]*time,\s*$/);
    await ina.type(" it", "Enter");
    await jan.shows(/ina: wait, I am looking for it\n/);
    await jan.type("", "C-u");
    await jan.shows(/\n\[ina\]$/);
    await ina.shows(/\n\[jan\]$/);
  },
});
