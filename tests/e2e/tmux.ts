/** A person at a terminal: programs in tmux, keys in, the screen out. */
import { eventually, TEST_ENV } from "./harness.ts";

/** Whether there is a tmux to run. */
export async function hasTmux(): Promise<boolean> {
  try {
    return (await new Deno.Command("tmux", { args: ["-V"], stdout: "null" }).output()).success;
  } catch {
    return false;
  }
}

/** A terminal of 80 by 24 with one program in it, on a tmux server of its own. */
export class Terminal implements AsyncDisposable {
  readonly #socket: string;

  private constructor(socket: string) {
    this.#socket = socket;
  }

  /**
   * Runs a program. When it ends, the terminal says `ended CODE` and whether it found its modes as it had left them.
   *
   * @param env Beside the tests' own.
   */
  static async open(words: readonly string[], env: Record<string, string> = {}): Promise<Terminal> {
    const terminal = new Terminal(`fastchat-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`);
    const variables = Object.entries({ ...TEST_ENV, LC_ALL: "C.UTF-8", ...env }).map(([key, value]) =>
      `${key}=${value}`
    );
    const command = [
      "env",
      "-u",
      "FASTCHAT_PASSWORD",
      "-u",
      "INIT_CWD",
      ...variables,
      "sh",
      "-c",
      WATCH,
      "sh",
      ...words,
    ];
    await terminal.#tmux([
      "-f",
      "/dev/null",
      "new-session",
      "-d",
      "-x",
      "80",
      "-y",
      "24",
      command.map(quote).join(" "),
    ]);
    return terminal;
  }

  /** Types text, then presses keys by tmux's names (Enter, C-c, Tab, …). */
  async type(text: string, ...keys: string[]): Promise<void> {
    if (text !== "") await this.#tmux(["send-keys", "-l", "--", text]);
    if (keys.length > 0) await this.#tmux(["send-keys", ...keys]);
  }

  /** The rows on the screen, without white space at their ends and without empty ones at the bottom. */
  async screen(): Promise<string> {
    return (await this.#tmux(["capture-pane", "-p"])).replace(/[ \t]+$/gm, "").trimEnd();
  }

  /** The rows of everything that was on the screen. */
  async scrollback(): Promise<string> {
    return await this.#tmux(["capture-pane", "-p", "-S", "-"]);
  }

  /** The screen, once it shows that. */
  async shows(pattern: RegExp, seconds = 90): Promise<string> {
    let screen = "";
    try {
      return await eventually(async () => pattern.test(screen = await this.screen()) ? screen : undefined, "", seconds);
    } catch {
      throw new Error(`The screen does not show ${pattern} within ${seconds} s:\n${screen}\n`);
    }
  }

  /** Column and row of the cursor, from 0. */
  async cursor(): Promise<{ x: number; y: number }> {
    const [x, y] = (await this.#tmux(["display-message", "-p", "#{cursor_x} #{cursor_y}"])).split(" ").map(Number);
    return { x: x!, y: y! };
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux(["resize-window", "-x", String(columns), "-y", String(rows)]);
  }

  /** The pid of what runs here: the shell's child. */
  async pid(): Promise<number> {
    const shell = (await this.#tmux(["display-message", "-p", "#{pane_pid}"])).trim();
    const { stdout } = await new Deno.Command("ps", { args: ["-A", "-o", "pid=,ppid="] }).output();
    const rows = new TextDecoder().decode(stdout).trim().split("\n").map((row) => row.trim().split(/\s+/));
    return Number(rows.find(([, parent]) => parent === shell)![0]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux(["kill-server"]).catch(() => {});
  }

  async #tmux(args: readonly string[]): Promise<string> {
    const command = new Deno.Command("tmux", { args: ["-L", this.#socket, ...args], env: { TERM: "xterm-256color" } });
    const { success, stdout, stderr } = await command.output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`tmux ${args[0]}: ${decoder.decode(stderr)}`);
    return decoder.decode(stdout);
  }
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Stays at the end, so that the screen can be read. */
const WATCH = `before=$(stty -g)
"$@"
code=$?
[ "$before" = "$(stty -g)" ] && echo "ended $code, modes restored" || echo "ended $code, modes NOT restored"
exec cat`;
