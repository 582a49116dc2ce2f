/**
 * One process of the store's failover test: a backend that appends without end to a conversation of its own and to one that all
 * processes share, and prints every acknowledgement as a line of JSON.
 *
 *     store_main.ts DIR NUMBER     `stop` on stdin: no more appends, print `done`; end of stdin: close and exit
 */
import { openBackend } from "../../server/store/backend.ts";
import { type AppendResult, StoreUnavailableError } from "../../server/store/store.ts";
import { silentLogger } from "../../shared/log.ts";
import type { ConversationId } from "../../shared/protocol/mod.ts";
import { bytesOf, directOf, nameOf, newDevice, newUser, recordOf } from "../server/store/fixtures.ts";

/** Appends under way at once, in each conversation. */
const OUTSTANDING = 8;

const [dataDir, number] = Deno.args as [string, string];
const backend = await openBackend({ dataDir, serverNumber: Number(number), logger: silentLogger });
const { store, bus } = backend;

// Everybody is alice, each with a device of their own: a later one's makes the others' first appends stale.
const alice = nameOf("alice"), device = Number(number) + 1, own = `peer${number}`;
await store.createUser(newUser("alice"));
if (device > 1) await store.addDevice(alice, newDevice("alice", device));
for (const peer of [own, "bob"]) {
  await store.createUser(newUser(peer));
  await store.openDirect(directOf("alice", peer), alice, nameOf(peer));
}

/** The newest record heard of each conversation; forgotten at a gap. */
const heard = new Map<ConversationId, number>();
bus.listener = {
  onCommitted(committed) {
    for (const { record: { conversation, seq } } of committed) {
      const last = heard.get(conversation);
      if (last !== undefined && seq !== last + 1) print({ violation: `heard ${seq} behind ${last}` });
      heard.set(conversation, seq);
    }
  },
  onDevicesChanged() {},
  onReceipts: () => {},
  onSessionsEnded: () => {},
  onGroupNews: () => {},
  onPresence: () => {},
  onTyping: () => {},
  onGap: () => {
    heard.clear();
    print({ gap: true });
  },
};
bus.announce(alice, true);

let stopped = false;
print({ role: backend.role(), leadership: backend.leadership() });
const senders = [own, "bob"].flatMap((peer) => sender(peer));
const input = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
if (!(await input.read()).done) {
  stopped = true;
  await Promise.all(senders);
  print({ done: true, role: backend.role(), leadership: backend.leadership(), heard: heard.size });
  await input.read();
}
await backend.close();
Deno.exit(0);

/** Several loops over one counter: appends of one peer are called in the counter's order. */
function sender(peer: string): Promise<void>[] {
  let next = 0, epoch = 2;
  return Array.from({ length: OUTSTANDING }, async () => {
    while (!stopped) {
      const count = next++;
      while (true) {
        const record = recordOf("alice", peer, `${number}/${peer}/${count}`, {
          body: bytesOf(`${count}`),
          device,
          epoch,
        });
        const [result] = await store.append([record]).catch(again);
        if (result === undefined) continue;
        if (result.status === "stale-epoch") {
          epoch = result.epoch;
          continue;
        }
        if (result.status === "stored") {
          print({ stored: record.messageId, conversation: record.conversation, seq: result.seq });
        } else print({ violation: `append ended as ${result.status}` });
        break;
      }
    }
  });
}

/** The store changes hands: the same call may be made again, a moment later. */
async function again(error: unknown): Promise<AppendResult[]> {
  if (!(error instanceof StoreUnavailableError)) throw error;
  await new Promise((resolve) => setTimeout(resolve, 10));
  return [];
}

function print(line: unknown): void {
  console.log(JSON.stringify(line));
}
