/**
 * A thief with copies of a home's files, its key and every row of the log: tries each state that the copy holds, or that rows lead
 * to, on each row. Goes past all that an honest client would look at first (whose row it is, who is in the group).
 */
import { join } from "node:path";
import type { ClientState } from "ts-mls";
import { emptyPskIndex } from "ts-mls/pskIndex.js";
import { processPrivateMessage, processPublicMessage } from "ts-mls/processMessages.js";
import type { DeviceKeys } from "../../client/e2ee/mod.ts";
import { Kind, readBody } from "../../client/e2ee/groups/body.ts";
import { GroupStore } from "../../client/e2ee/groups/group_store.ts";
import { libraryOf } from "../../client/e2ee/groups/library.ts";
import type { Group } from "../../client/e2ee/mls/mod.ts";
import { decodePlaintext } from "../../client/e2ee/mls/plaintext.ts";
import { decodeMessage } from "../../client/e2ee/mls/wire.ts";
import { openHome } from "../../client/home_parts.ts";
import { InnerType, openEnvelope, readEnvelope, systemRandom } from "../../shared/crypto/mod.ts";
import type { ConversationId, Record } from "../../shared/protocol/mod.ts";
import { TEST_CLUSTER, testKeys } from "../keys.ts";

export interface StolenHome {
  readonly directory: string;
  /** What unlocks it: the thief knows the password. */
  readonly key: Uint8Array;
}

/** Copies the files of a home that is in use: database, write-ahead log, everything. */
export function steal(victim: { readonly home: string; key(): Uint8Array }, directory: string): StolenHome {
  Deno.mkdirSync(directory);
  for (const { name, isFile } of Deno.readDirSync(victim.home)) {
    if (isFile && !name.endsWith("-shm")) Deno.copyFileSync(join(victim.home, name), join(directory, name));
  }
  return { directory, key: victim.key() };
}

/** What the thief finds in a copy. */
export async function lootOf(stolen: StolenHome) {
  const loaded = await libraryOf(TEST_CLUSTER, undefined)(), groups: Group[] = [];
  // Another copy for each look: opening it writes.
  const copy = Deno.makeTempDirSync({ prefix: "fastchat-thief-" });
  try {
    for (const { name } of Deno.readDirSync(stolen.directory)) {
      Deno.copyFileSync(join(stolen.directory, name), join(copy, name));
    }
    const { database, vault, credentials } = openHome(copy);
    try {
      vault.unlockWithKey(stolen.key);
      const keys = (await credentials.deviceKeys())!, { identity } = credentials.account()!;
      const store = new GroupStore({ database, vault, random: systemRandom });
      const device = { certificate: new Uint8Array(), leafPkcs8: keys.leaf.pkcs8 };
      for (const row of database.all("SELECT DISTINCT slot FROM mls_rows")) {
        groups.push(store.load(loaded, device, row["slot"] as string)!);
      }
      return { ...loaded, keys, identity, groups };
    } finally {
      database.close();
    }
  } finally {
    Deno.removeSync(copy, { recursive: true });
  }
}

/** What of these rows the thief can read, in their order. */
export async function readByThief(
  stolen: StolenHome,
  conversation: ConversationId,
  rows: readonly Record[],
): Promise<string[]> {
  const { mls, keys, identity, groups } = await lootOf(stolen);
  const states: ClientState[] = groups.flatMap(({ state, pending }) => pending ? [state, pending.state] : [state]);
  const read: string[] = [];
  for (const row of rows) {
    const message = decodeMessage(await innerOf({ keys, identity }, conversation, row));
    if (message === undefined) continue;
    for (const state of [...states]) {
      const result = await attempt(state, message);
      if (result === undefined) continue;
      if ("text" in result) {
        read.push(result.text);
        break;
      }
      states.push(result.next);
    }
  }
  return read;

  async function attempt(
    state: ClientState,
    message: NonNullable<ReturnType<typeof decodeMessage>>,
  ): Promise<{ readonly text: string } | { readonly next: ClientState } | undefined> {
    const accept = () => "accept" as const;
    try {
      if (message.wireformat === "mls_public_message") {
        const { newState } = await processPublicMessage(
          state,
          message.publicMessage as never,
          emptyPskIndex,
          mls.suite,
          accept,
        );
        return { next: newState };
      }
      if (message.wireformat !== "mls_private_message") return undefined;
      // Opening takes keys out of a state: the thief keeps it as it was.
      const kept = structuredClone({ ...state, clientConfig: undefined });
      const own = { ...kept, clientConfig: state.clientConfig } as ClientState;
      const result = await processPrivateMessage(own, message.privateMessage, emptyPskIndex, mls.suite, accept);
      if (result.kind === "applicationMessage") {
        return { text: new TextDecoder().decode(decodePlaintext(result.message).content) };
      }
      return { next: result.newState };
    } catch {
      return undefined;
    }
  }
}

/** What is in a row, or in the envelope that its device key opens. */
async function innerOf(
  { keys, identity }: { readonly keys: DeviceKeys; readonly identity: Uint8Array },
  conversation: ConversationId,
  { body, device: by }: Record,
): Promise<Uint8Array> {
  const content = readBody(body);
  if (content?.kind === Kind.mls) return content.content;
  const read = readEnvelope(body), { alice, alice2, bob } = await testKeys();
  const sender = [alice, alice2, bob].find(({ id }) => id === by);
  if (!read.ok || sender === undefined) return new Uint8Array();
  const opened = await openEnvelope({
    envelope: read.envelope,
    clusterId: TEST_CLUSTER,
    conversation,
    own: { identity, device: keys.id, envelopePrivate: keys.envelopePrivate },
    sender: { identity: sender.identity.fingerprint, device: sender.id, leafKey: sender.leaf.publicKey },
    types: [InnerType.mls],
  });
  return opened.ok ? opened.content.bytes : new Uint8Array();
}
