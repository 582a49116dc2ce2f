/** `device list|rename|revoke|approve|policy|share`, `identity rotate`. */
import { parseLinkCode } from "../../shared/crypto/mod.ts";
import type { ChatClient } from "../chat_client.ts";
import type { DeviceInfo } from "../account/devices.ts";
import { UsageError } from "../errors.ts";
import { clock, localDay } from "../faces/lines.ts";
import { textWidth } from "../faces/width.ts";
import { shortDevice } from "../trust/key_watch.ts";
import type { Options } from "../options.ts";
import { paint, printLine } from "../output.ts";
import { passwordFor } from "../password.ts";
import { ask, canAsk, printNotice } from "../prompt.ts";
import { warnOfArchive } from "./archive.ts";
import { agreeOn, invite, link, requireSomebody, tell } from "./linking.ts";
import { type Telling, untilInterrupted, withClient } from "./open.ts";

const ACTIONS: Readonly<Record<string, (words: readonly string[], options: Options) => Promise<void>>> = {
  list,
  rename,
  revoke,
  approve,
  link,
  policy,
  share,
};

export async function device(words: readonly string[], options: Options): Promise<void> {
  const [action = "list", ...rest] = words, act = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined;
  if (act === undefined) throw usage(`There is no "fastchat device ${action}"`);
  await act(rest, options);
}

export async function identity(words: readonly string[], options: Options): Promise<void> {
  if (words.length !== 1 || words[0] !== "rotate") throw new UsageError("Usage: fastchat identity rotate");
  await withClient(options, async (chat) => {
    if (!options.yes) await confirm(ROTATE_QUESTION, "--yes");
    const password = await passwordFor(chat.name, options.passwordFile);
    const { fingerprint, recoveryKey } = await chat.rotateIdentity(password);
    if (options.json) {
      printLine(JSON.stringify({ type: "identity-rotated", fingerprint, recoveryKey: recoveryKey ?? null }));
    } else {
      printLine(`Your new identity is ${fingerprint}`);
      printLine("Your other devices must log in again. Those you talk with are asked to compare the new one.");
      printLine(
        recoveryKey === undefined
          ? 'Your recovery key is void, and no new one could be made: "fastchat recovery new"'
          : `Your old recovery key is void. The new one, write it down: ${recoveryKey}`,
      );
    }
    await warnOfArchive(chat);
  });
}

async function list(words: readonly string[], options: Options): Promise<void> {
  if (words.length > 0) throw usage();
  await withClient(options, async (chat) => {
    const devices = (await chat.devices()).filter(({ state }) => state !== "revoked" || options.json);
    const approval = await chat.needsApproval();
    if (options.json) {
      for (const { id, name = null, self, state, since } of devices) {
        printLine(JSON.stringify({ type: "device", id, name, self, state, since }));
      }
      return printLine(JSON.stringify({ type: "device-policy", policy: approval ? "approve" : "open" }));
    }
    const columns = Math.max(0, ...devices.map(({ name }) => textWidth(name ?? "")));
    for (const device of devices) printLine(lineOf(device, columns));
    if (approval) printLine("New devices count for nothing until one of these approves them.");
  }, OF_DEVICES);
}

function lineOf({ id, name = "", self, state, since }: DeviceInfo, columns: number): string {
  const padded = name + " ".repeat(columns - textWidth(name)), when = `${localDay(since)} ${clock(since)}`;
  const note = self ? [...NOTES[state], "this device"].join(", ") : NOTES[state].join(", ");
  const line = `${shortDevice(id)}  ${padded}  since ${when}  ${note}`.trimEnd();
  return state === "unapproved" || state === "waiting" ? paint("yellow", line) : line;
}

async function rename(words: readonly string[], options: Options): Promise<void> {
  const name = words.join(" ");
  if (name === "") throw usage();
  await withClient(options, async (chat) => {
    await chat.nameDevice(name);
    tell(options, "device-renamed", { name }, `This device is called ${name}`);
  });
}

async function approve(words: readonly string[], options: Options): Promise<void> {
  // A scanned code says what it is; a typed one may have blanks.
  const which = words.join("").replace(/^FASTCHAT:LINK:/i, ""), isCode = parseLinkCode(which) !== undefined;
  if (options.compare) return await approveByDigits(words, options);
  if (!isCode) one(words);
  await withClient(options, async (chat) => {
    const id = isCode
      ? await chat.grantDevice(which, await passwordFor(chat.name, options.passwordFile))
      : await chat.approveDevice(one(words));
    tell(options, "device-approved", { id }, `The device ${shortDevice(id as never)} is yours`);
    if (options.withHistory) await handOver(chat, id, options);
  }, OF_DEVICES);
}

/** Lets a device in that is here now, where both show the same digits. */
async function approveByDigits(words: readonly string[], options: Options): Promise<void> {
  if (words.length > 0) throw usage("With --compare nothing is to be typed here");
  requireSomebody();
  await withClient(options, async (chat) => {
    const password = await passwordFor(chat.name, options.passwordFile), { signal, dispose } = untilInterrupted();
    try {
      const id = await chat.grantDeviceByDigits(password, {
        signal,
        onOpen: () => invite(chat, options),
        agree: (digits) => agreeOn(digits, options),
      });
      tell(options, "device-approved", { id }, `The device ${shortDevice(id as never)} is yours`);
      if (options.withHistory) await handOver(chat, id, options);
    } catch (error) {
      throw signal.aborted ? new UsageError("Interrupted: no device was let in") : error;
    } finally {
      dispose();
    }
  }, OF_DEVICES);
}

/** Hands another device what was said between two people. */
async function share(words: readonly string[], options: Options): Promise<void> {
  const which = one(words);
  await withClient(options, (chat) => handOver(chat, which, options));
}

async function handOver(chat: ChatClient, which: string, options: Options): Promise<void> {
  const sinceMs = parseDay(options.since);
  const limit = options.timeout === undefined ? {} : { timeoutMs: options.timeout * 1000 };
  const { device, ...shared } = await chat.shareHistory(which, { sinceMs, ...limit });
  const { messages, conversations, isCut, isPending } = shared;
  const said = [
    messages === 0 && !isPending
      ? `There is nothing that the device ${shortDevice(device)} could be handed`
      : `The device ${shortDevice(device)} is handed ${count(messages, "message")} of ${
        count(conversations, "conversation")
      }`,
    ...(isCut ? ["Of the longest ones the newest: there is no room for more at once"] : []),
    ...(isPending ? ["The rest goes later, by itself"] : []),
  ].join(". ");
  const { isCut: cut, isPending: pending, ...counts } = shared;
  tell(options, "device-shared", { id: device, ...counts, cut, pending }, said);
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

/** A day here, or a moment. @throws UsageError */
function parseDay(text: string | undefined): number {
  if (text === undefined) return 0;
  const isDay = /^\d{4}-\d{2}-\d{2}$/.test(text), timeMs = Date.parse(isDay ? `${text}T00:00:00` : text);
  if (Number.isNaN(timeMs) || timeMs < 0) {
    throw new UsageError(`${JSON.stringify(text)} is no day: write it as 2026-11-23`);
  }
  return timeMs;
}

async function revoke(words: readonly string[], options: Options): Promise<void> {
  const which = one(words);
  await withClient(options, async (chat) => {
    if (!options.yes && await isSelf(chat, which)) await confirm(SELF_QUESTION, "--yes");
    const id = await chat.revokeDevice(which, await passwordFor(chat.name, options.passwordFile));
    tell(options, "device-revoked", { id }, `The device ${shortDevice(id as never)} is yours no longer`);
  }, OF_DEVICES);
}

async function policy(words: readonly string[], options: Options): Promise<void> {
  if (words.length > 1 || (words[0] !== undefined && words[0] !== "approve" && words[0] !== "open")) throw usage();
  await withClient(options, async (chat) => {
    if (words[0] !== undefined) {
      await chat.setDevicePolicy(words[0] === "approve", await passwordFor(chat.name, options.passwordFile));
    }
    const policy = await chat.needsApproval() ? "approve" : "open";
    tell(options, "device-policy", { policy }, POLICIES[policy]);
  });
}

async function isSelf(chat: ChatClient, which: string): Promise<boolean> {
  const word = which.toLowerCase();
  return (await chat.devices()).some(({ id, name, self }) =>
    self && (id.startsWith(word) || name?.toLowerCase() === word)
  );
}

/** @throws UsageError unless somebody says yes. */
async function confirm(question: string, option: string): Promise<void> {
  if (!canAsk()) throw new UsageError(`${question} Say so with ${option}`);
  printNotice(question);
  if (!/^y(es)?$/i.test((await ask("Go on? [y/N] ")).trim())) throw new UsageError("Nothing was done");
}

function one(words: readonly string[]): string {
  if (words.length === 1) return words[0]!;
  throw usage();
}

function usage(problem = "Something is missing, or too much"): UsageError {
  return new UsageError(
    `${problem}. Usage: fastchat device [list | link [NAME --compare] | rename NAME | approve ID|CODE|--compare | share ID | revoke ID | policy [open|approve]]`,
  );
}

/** Which devices of one's own wait for a word is what these commands are about. */
const OF_DEVICES: Telling = { untold: ({ code, name }) => code === "device-added" && name === undefined };

const NOTES: Readonly<Record<DeviceInfo["state"], readonly string[]>> = {
  active: [],
  unapproved: ["added by password: approve or revoke it"],
  waiting: ["waits for approval: approve or revoke it"],
  superseded: ["must log in again"],
  revoked: ["revoked"],
};
const POLICIES = {
  open: "New devices need name and password, and you are told of them",
  approve: "New devices count for nothing until another one approves them",
};
const ROTATE_QUESTION =
  "A new identity is made: your other devices must log in again, everybody you talk with is warned and compares keys with you anew.";
const SELF_QUESTION =
  "That is this device: it is logged out for good, and what is here cannot be used to log in again.";
