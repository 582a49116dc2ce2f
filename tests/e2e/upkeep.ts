/** The operator's commands in processes of their own, for the end-to-end tests. */
import { type Result, runArguments, TEST_ENV } from "./harness.ts";

/** Runs `fastchat-balancer ARGS` to its end. */
export function balancer(...args: string[]): Promise<Result> {
  return run("balancer", args);
}

/** Runs `fastchat-server ARGS` to its end. */
export function server(...args: string[]): Promise<Result> {
  return run("server", args);
}

async function run(program: "balancer" | "server", args: readonly string[]): Promise<Result> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...runArguments(program), ...args],
    env: TEST_ENV,
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
