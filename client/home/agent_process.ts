/**
 * Starts an agent as a process of its own that outlives this one. The key goes through a pipe: never as an argument or in the
 * environment, where other processes of the machine could see it. The only place of the client that starts a process.
 */
import { fileURLToPath } from "node:url";
import { FastChatError } from "../errors.ts";

/** @throws FastChatError where it does not come up. */
export async function startAgentProcess(
  { home, key, idleSeconds }: { readonly home: string; readonly key: Uint8Array; readonly idleSeconds: number },
): Promise<void> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(Deno.execPath(), {
      args: [...ourselves(), "agent", "--foreground", "--stdin", "--home", home, "--timeout", String(idleSeconds)],
      clearEnv: true,
      env: environment(),
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
      // A session of its own: Ctrl-C and the end of the terminal are not meant for it.
      detached: true,
    }).spawn();
  } catch (error) {
    throw new FastChatError(`Cannot start an agent: ${(error as Error).message}`, { cause: error });
  }
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MS_MAX);
  try {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(key.toBase64() + "\n"));
    await writer.close();
    const reader = child.stdout.getReader();
    const { done } = await reader.read();
    await reader.cancel();
    if (done) throw new FastChatError("Cannot start an agent: it ended at once; fastchat agent --foreground says why");
    child.unref();
  } catch (error) {
    if (error instanceof FastChatError) throw error;
    throw new FastChatError(`Cannot start an agent: ${(error as Error).message}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** The words that start this very program, with what an agent needs of the permissions it has. */
function ourselves(): string[] {
  if (Deno.build.standalone) return [];
  const main = fileURLToPath(new URL("../main.ts", import.meta.url));
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const permissions = ["read", "write", "env", "sys", "net"].map((name) => `--allow-${name}`);
  return ["run", "--no-check", "--no-prompt", "--cached-only", "--config", config, ...permissions, main];
}

/** What a program needs to find its things; nothing that could be a secret. */
function environment(): Record<string, string> {
  return Object.fromEntries(PASSED_ON.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  }));
}

const PASSED_ON = [
  "HOME",
  "PATH",
  "DENO_DIR",
  "XDG_CACHE_HOME",
  "XDG_DATA_HOME",
  "XDG_RUNTIME_DIR",
  "TMPDIR",
  "USERPROFILE",
  "LOCALAPPDATA",
  "SystemRoot",
  "TEMP",
];
const START_MS_MAX = 20_000;
