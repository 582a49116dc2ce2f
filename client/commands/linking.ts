/** `device link`, on the new machine: by a code, or with `--compare NAME` by digits; and what `device approve --compare` shows. */
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import { NAME_RULE, parseUserName, type UserName } from "../../shared/protocol/mod.ts";
import { linkDevice, linkDeviceByDigits, type LinkHomeOptions } from "../account/linking.ts";
import { ChatClient } from "../chat_client.ts";
import { UsageError } from "../errors.ts";
import { qrModules, qrRows } from "../faces/qr.ts";
import { defaultHome, explicitHome } from "../homes.ts";
import type { Options } from "../options.ts";
import { printLine } from "../output.ts";
import { ask, canAsk, printNotice } from "../prompt.ts";
import { parseServerAddress } from "../network/server_address.ts";
import { deviceName, reach, untilInterrupted } from "./open.ts";

/** Shows a code or digits, and waits until another device of the same person has let this one in. */
export async function link(words: readonly string[], options: Options): Promise<void> {
  const user = whose(words, options);
  if (options.server === undefined) throw new UsageError("Say which server: fastchat device link --server HOST:PORT");
  const server = parseServerAddress(options.server), { signal, dispose } = untilInterrupted();
  const machine: LinkHomeOptions = {
    server,
    ...reach(options),
    signal,
    home: (user) => explicitHome(options.home) ?? defaultHome(user, server),
    deviceName: deviceName(options),
  };
  try {
    const { home, name } = user === undefined
      ? await linkDevice({ ...machine, onCode: (code) => showCode(code, options) })
      : await compare(user, machine, options);
    // The first connection shows that all is well.
    const chat = await ChatClient.open({ home, ...reach(options), catchUp: false }), called = deviceName(options);
    if (called !== undefined) await chat.nameDevice(called);
    await chat.close();
    const linked = `This device is ${name}'s now. Your things are in ${home}`;
    tell(options, "device-linked", { name, home }, `${linked}\n${NOT_SEALED}`);
  } catch (error) {
    throw signal.aborted ? new UsageError("Interrupted: this device was not linked, and its code is void") : error;
  } finally {
    dispose();
  }
}

/** With `--compare` there is a name, and without there is none. @throws UsageError */
function whose(words: readonly string[], { compare }: Options): UserName | undefined {
  if (!compare && words.length === 0) return undefined;
  if (!compare || words.length !== 1) {
    throw new UsageError(
      "Usage: fastchat device link --server HOST:PORT, or fastchat device link NAME --compare --server …",
    );
  }
  requireSomebody();
  const name = parseUserName(words[0]!);
  if (name === undefined) throw new UsageError(`${JSON.stringify(words[0])} is no name: names have ${NAME_RULE}`);
  return name;
}

function compare(name: UserName, machine: LinkHomeOptions, options: Options) {
  printNotice(`On another device of yours, within ten minutes:\n\n  fastchat device approve --compare\n`);
  return linkDeviceByDigits({
    ...machine,
    name,
    agree: (digits) => agreeOn(digits, options),
    onTaken: () => printNotice(TAKEN),
  });
}

/** What is to be done on the new device, for whoever lets it in. */
export function invite(chat: ChatClient, options: Options): void {
  if (options.json) return;
  const address = `${chat.server}#${formatFingerprint(chat.serverFingerprint)}`;
  printNotice(
    `On the new device, within two minutes:\n\n  fastchat device link ${chat.name} --compare --server ${address}\n`,
  );
}

/** Shows the digits, and asks whether both screens show them. */
export async function agreeOn(digits: string, options: Options): Promise<boolean> {
  if (options.json) printLine(JSON.stringify({ type: "link-digits", digits }));
  else printLine(`Look at both devices. This one shows:\n\n  ${digits.slice(0, 3)} ${digits.slice(3)}\n`);
  return /^y(es)?$/i.test((await ask("Does the other one show the same six digits? [y/N] ")).trim());
}

/** @throws UsageError where nobody could compare anything. */
export function requireSomebody(): void {
  if (!canAsk()) throw new UsageError("To compare digits takes somebody at a terminal. Without: fastchat device link");
}

/** One line for people, or one object for programs. */
export function tell(options: Options, type: string, what: object, text: string): void {
  printLine(options.json ? JSON.stringify({ type, ...what }) : text);
}

function showCode(code: string, options: Options): void {
  if (options.json) return printLine(JSON.stringify({ type: "link-code", code }));
  if (!options.noQr && Deno.stdout.isTerminal()) {
    const colour = Deno.env.get("NO_COLOR") === undefined;
    for (const row of qrRows(qrModules(`FASTCHAT:LINK:${code}`), colour)) printLine(row);
  }
  // The command stands alone, so that it can be copied off the screen in one piece.
  printLine(`On another device of yours, within ten minutes:\n\n  fastchat device approve ${code}\n`);
}

const NOT_SEALED = "They are not sealed before you have given your password here once: fastchat agent";
const TAKEN = "Some other device is being compared there now. If that one is not yours, say no there and begin anew: " +
  "this one waits for the next time";
