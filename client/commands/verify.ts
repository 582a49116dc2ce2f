/** `verify`, `fingerprint`. */
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import { ChatClient } from "../chat_client.ts";
import { CannotReachError, KeyChangedError, TimedOutError, UsageError } from "../errors.ts";
import { safetyRows, type SafetyScreen } from "../faces/safety_screen.ts";
import { qrModules } from "../faces/qr.ts";
import { terminalSize } from "../faces/terminal.ts";
import { trustLine } from "../faces/trust_lines.ts";
import { chooseHome } from "../homes.ts";
import type { LocalHome } from "../local_home.ts";
import type { Options } from "../options.ts";
import { printError, printLine } from "../output.ts";
import type { Safety } from "../trust/people.ts";
import { ask, canAsk } from "../prompt.ts";
import { parseName } from "./account.ts";
import { aboutKeyOf, timeoutMs, withClient, withHome } from "./open.ts";

export async function verify(words: readonly string[], options: Options): Promise<void> {
  const name = parseName(words[0]!), { number, yes, unverify } = options;
  if ([number !== undefined, yes, unverify].filter((given) => given).length > 1) {
    throw new UsageError("--number, --yes and --unverify are three different things: give one of them");
  }
  if (unverify) {
    return await withHome(options, (home) => {
      known(home, name);
      home.unverify(name);
      report(home, home.safety(name)!, options);
    });
  }
  try {
    await withClient({ ...options, timeout: options.timeout ?? ASK_SECONDS }, async (chat) => {
      const within = { timeoutMs: timeoutMs(options) };
      if (number !== undefined) {
        await chat.verifyNumber(name, number, within);
        return report(chat, chat.safety(name)!, options);
      }
      await chat.meet(name, within);
      await decide(chat, name, options);
    }, aboutKeyOf(name));
  } catch (error) {
    if (!(error instanceof CannotReachError || error instanceof TimedOutError)) throw error;
    await withHome(options, async (home) => {
      const safety = known(home, name);
      printError("fastchat: the server cannot be reached: this is what was known before");
      if (number === undefined) return await decide(home, name, options);
      home.verify(safety, number);
      report(home, safety, options);
    });
  }
}

export async function fingerprint(words: readonly string[], options: Options): Promise<void> {
  // Keys that are public need no password.
  const home = ChatClient.offline({ home: chooseHome(options) });
  try {
    const name = words[0] === undefined ? home.name : parseName(words[0]), trust = home.trustOf(name);
    if (trust.fingerprint === undefined) throw unknown(name);
    if (options.json) printLine(JSON.stringify({ type: "fingerprint", ...trust }));
    else {
      printLine(trust.fingerprint);
      // What was shown since is nobody's key until it is accepted.
      if (trust.trust === "changed") printError(trustLine(trust));
    }
  } finally {
    await home.close();
  }
}

/** Shows the number, and marks where the person says so, now or by `--yes`. */
async function decide(home: LocalHome, name: string, options: Options): Promise<void> {
  const safety = home.safety(name)!;
  if (options.yes) {
    home.verify(safety);
    return report(home, safety, options);
  }
  report(home, safety, options);
  const { trust } = home.trustOf(name);
  if (options.json || trust === "verified" || trust === "changed" || !canAsk()) return;
  const answer = await ask(`Is it the same on ${name}'s screen? [y/N] `);
  if (!/^y(es)?$/i.test(answer.trim())) {
    printLine(`Not marked. Where the digits differ, somebody may be in between: write ${name} nothing secret`);
    return;
  }
  home.verify(safety);
  printLine(trustLine(home.trustOf(name)).replace(/^\* /, ""));
}

/** What is known, with the number. @throws KeyChangedError behind it, where the number is that of a key nobody has accepted. */
function report(home: LocalHome, safety: Safety, options: Options): void {
  const trust = home.trustOf(safety.name), { number, uri } = safety;
  if (options.json) {
    const own = formatFingerprint(home.fingerprint);
    printLine(JSON.stringify({ type: "verify", ...trust, number, uri, own }));
  } else if (options.number !== undefined || options.yes || options.unverify) {
    printLine(trustLine(trust).replace(/^\* /, ""));
  } else {
    const screen: SafetyScreen = {
      self: home.name,
      own: formatFingerprint(home.fingerprint),
      safety,
      trust,
      ...(!options.noQr && Deno.stdout.isTerminal() && { qr: qrModules(uri) }),
    };
    const below = `Compare in person or by phone: ${safety.name} sees the same with: fastchat verify ${home.name}`;
    // One row stays for the question.
    const { columns, rows } = terminalSize();
    for (const row of safetyRows(screen, { columns, rows: rows - 1, colour: !Deno.noColor }, below)) printLine(row);
  }
  if (trust.trust === "changed") {
    throw new KeyChangedError({
      kind: "peer",
      subject: trust.name,
      pinned: trust.fingerprint!,
      offered: trust.offered!,
      wasVerified: trust.wasVerified,
    });
  }
}

function known(home: LocalHome, name: string): Safety {
  const safety = home.safety(name);
  if (safety === undefined) throw unknown(name);
  return safety;
}

function unknown(name: string): UsageError {
  return new UsageError(`The key of ${name} is not known here yet: fastchat verify ${name} asks the server for it`);
}

/** What is known here has to do where the server does not answer in that time. */
const ASK_SECONDS = 5;
