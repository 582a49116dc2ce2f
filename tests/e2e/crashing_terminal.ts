/** A chat's terminal under a program that dies of its own fault, for terminal_test.ts: `throw` or `reject`. */
import { LineTerminal } from "../../client/faces/terminal.ts";

const terminal = new LineTerminal({ onLine: () => {}, onLeave: () => {} });
terminal.start();
terminal.print("about to fail");
setTimeout(() => {
  if (Deno.args[0] === "reject") void Promise.reject(new Error("fault of ours"));
  else throw new Error("fault of ours");
}, 0);
