/** `chats`, `users`, `online`, `trust`. */
import { ChatClient } from "../chat_client.ts";
import type { Options } from "../options.ts";
import { UsageError } from "../errors.ts";
import { groupSign, type GroupTrust, groupTrust, groupWords } from "../faces/group_view.ts";
import { clock, localDay } from "../faces/lines.ts";
import { trustMark } from "../faces/marks.ts";
import { listMark } from "../faces/trust_lines.ts";
import { textWidth } from "../faces/width.ts";
import { chooseHome, listHomes } from "../homes.ts";
import type { LocalHome } from "../local_home.ts";
import { paint, printLine } from "../output.ts";
import { parseServerAddress } from "../network/server_address.ts";
import { parseName } from "./account.ts";
import { aboutKeyOf, reach, timeoutMs, withClient } from "./open.ts";

export async function users(options: Options, onlineOnly: boolean): Promise<void> {
  await withClient(options, async (chat) => {
    const within = { timeoutMs: timeoutMs(options) };
    const all = onlineOnly ? await chat.online(within) : await chat.users(within);
    const trusts = chat.trustsOf(all.map(({ name }) => name));
    for (const [i, user] of all.entries()) {
      const trust = trusts[i]!;
      if (options.json) printLine(JSON.stringify({ type: "user", ...user, trust: trust.trust }));
      else printLine(`${user.online ? paint("green", "●") : " "} ${user.name}${listMark(trust)}`);
    }
  });
}

export function chats(options: Options): Promise<void> {
  const home = ChatClient.offline({ home: chooseHome(options) });
  try {
    const all = home.conversations();
    const columns = Math.max(0, ...all.map(({ name }) => textWidth(groupWords(name))));
    for (const { name, conversation, unread, lastTime } of all) {
      const trust = name.startsWith("#") ? trustIn(home, name) : home.trustOf(name);
      if (options.json) {
        const known = "others" in trust ? { verified: trust.verified, others: trust.others } : { trust: trust.trust };
        printLine(JSON.stringify({ type: "chat", name, conversation, unread, lastTime, ...known }));
        continue;
      }
      const when = lastTime === undefined ? "" : `${localDay(lastTime)} ${clock(lastTime)}`;
      const what = unread > 0 ? `${unread} new` : "";
      const padded = groupWords(name) + " ".repeat(columns - textWidth(groupWords(name)));
      const mark = "others" in trust ? groupSign(trust) : trustMark(trust.trust);
      printLine(`${padded}  ${when.padEnd(16)}  ${what.padEnd(8)}${mark}`.trimEnd());
    }
  } finally {
    home.close();
  }
  return Promise.resolve();
}

function trustIn(home: LocalHome, group: string): GroupTrust {
  return groupTrust(home.trustsOf(home.group(group).members.map(({ name }) => name)));
}

export async function trust(words: readonly string[], options: Options): Promise<void> {
  if ((words.length === 1) === (options.server !== undefined)) {
    throw new UsageError("Say whom to trust: fastchat trust NAME, or fastchat trust --server HOST:PORT");
  }
  if (options.server === undefined) return await trustPeer(words[0]!, options);
  const at = parseServerAddress(options.server);
  const home = listHomes(at).length > 0 ? chooseHome(options, at) : chooseHome(options);
  const fingerprint = await ChatClient.trustServer({ home, server: options.server, ...reach(options) });
  report(options, "server", options.server, fingerprint);
}

async function trustPeer(word: string, options: Options): Promise<void> {
  const limit = { timeoutMs: timeoutMs(options) };
  if (word.startsWith("#")) {
    return await withClient(options, async (chat) => {
      const { address } = chat.group(word);
      await chat.acceptFork(address, limit);
      printLine(options.json ? JSON.stringify({ type: "trusted", group: address }) : goesOn(address));
    });
  }
  const name = parseName(word);
  await withClient(options, async (chat) => {
    if (name === chat.name) throw new UsageError("That is you: there is nobody to compare your key with");
    const isChanged = chat.trustOf(name).trust === "changed";
    report(options, "name", name, await chat.trust(name));
    // A key that is accepted says nothing of what else somebody was shown: that takes a word of its own.
    if (!isChanged) await chat.acceptFork(name, limit);
  }, aboutKeyOf(name));
}

function goesOn(address: string): string {
  return `Sending in ${address} goes on, whatever its members were shown before`;
}

function report(options: Options, kind: "name" | "server", subject: string, fingerprint: string): void {
  printLine(
    options.json
      ? JSON.stringify({ type: "trusted", [kind]: subject, fingerprint })
      : `Trusting ${subject} with key ${fingerprint} from now on`,
  );
}
