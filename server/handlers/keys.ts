/** The key log and what users state in it about their devices (docs/PROTOCOL.md §16, SECURITY M13). */
import { DecodeError } from "../../shared/codec/mod.ts";
import {
  applyStatement,
  decodeCertificate,
  decodeKeyStatement,
  judgeStatement,
  type KeyHistory,
  type KeyStatement,
  sha256,
} from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { KEY_LOG_PAGE_MAX } from "../../shared/limits.ts";
import type { RequestOf, ResponseOf, UserName } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";
import type { KeyChange, Store } from "../store/store.ts";

/** keyLog = { after } → a page: whose the entries are, and their hashes */
export async function keyLog(
  request: RequestOf<"keyLog">,
  _caller: Caller,
  { store }: Services,
): Promise<ResponseOf<"keyLog">> {
  const { entries, head, length } = await store.keyLog(request.after, KEY_LOG_PAGE_MAX);
  return { type: "keyLog", entries: [...entries], head, length };
}

/** keyEntries = { numbers } → those entries that are there */
export async function keyEntries(
  request: RequestOf<"keyEntries">,
  _caller: Caller,
  { store }: Services,
): Promise<ResponseOf<"keyEntries">> {
  return { type: "keyEntries", entries: await store.keyEntries(request.numbers) };
}

/** stateKeys = { statement } → ok, once it is in the log and done | error malformed, forbidden, limit */
export async function stateKeys(
  { statement: entry }: RequestOf<"stateKeys">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user } = sessionOf(caller), said = parse(entry);
  if (said.type === "device" || said.type === "rotate") {
    throw new RequestError(ErrorCode.malformed, `A ${said.type} statement is not stated by itself`);
  }
  const effect: KeyChange["effect"] = said.type === "policy"
    ? { type: "policy", approval: said.approval }
    : { type: said.type, device: said.device };
  await change(user, entry, said, effect, services, (history) => {
    // Nothing new, or said once already: its answer was lost.
    if (said.type === "revoke") return history.devices.get(said.device)?.ending === "revoked";
    if (said.type === "approve") return history.devices.get(said.device)?.approvedAt !== undefined;
    return said.type === "policy" && said.approval === history.approval;
  });
  return { type: "ok" };
}

/** rotate = { statement, backup } → ok; every session but this one has ended then | error malformed, forbidden, limit */
export async function rotate(
  { statement: entry, backup }: RequestOf<"rotate">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user, device, tokenHash } = sessionOf(caller), said = parse(entry);
  if (said.type !== "rotate") throw new RequestError(ErrorCode.malformed, "That is no rotation");
  const certificate = decodeCertificate(said.certificate), { identityKey } = certificate;
  if (certificate.device !== device) {
    throw new RequestError(ErrorCode.forbidden, "An identity is replaced by the device that keeps it");
  }
  const effect: KeyChange["effect"] = {
    type: "rotate",
    identityKey,
    backup: backup.length === 0 ? backup : services.pepper.seal("backup", user, backup),
    device: { id: device, certificate: said.certificate },
    keep: Uint8Array.fromHex(tokenHash),
  };
  const isDone = (history: KeyHistory) => sha256(identityKey).every((byte, at) => byte === history.identity[at]);
  await change(user, entry, said, effect, services, isDone);
  return { type: "ok" };
}

/** nameDevice = { name, signature } → ok */
export async function nameDevice(
  { name, signature }: RequestOf<"nameDevice">,
  caller: Caller,
  { store }: Services,
): Promise<ResponseOf<"ok">> {
  const { user, device } = sessionOf(caller);
  await store.nameDevice(user, device, { name, signature });
  return { type: "ok" };
}

/** devices = {} → what this user calls their devices */
export async function devices(
  _request: RequestOf<"devices">,
  caller: Caller,
  { store }: Services,
): Promise<ResponseOf<"devices">> {
  return { type: "devices", devices: await store.deviceNames(sessionOf(caller).user) };
}

/** What the log says of a user. Everything in it was judged when it came. */
export async function keyHistory(name: UserName, store: Store): Promise<KeyHistory> {
  let history: KeyHistory | undefined;
  for (const { number, entry } of await store.keyEntriesOf(name)) {
    history = applyStatement(history, number, decodeKeyStatement(entry));
  }
  if (history === undefined) throw new RangeError(`There are no keys of ${name}`);
  return history;
}

/** Judges, and has it done behind the very entry that it was judged behind; otherwise again. */
async function change(
  user: UserName,
  entry: Uint8Array,
  said: KeyStatement,
  effect: KeyChange["effect"],
  { store, clusterId, counters }: Services,
  isDone: (history: KeyHistory) => boolean,
): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const history = await keyHistory(user, store);
    if (isDone(history)) return;
    counters.rsaVerifications++;
    const fault = await judgeStatement(history, said, { clusterId, user });
    if (fault !== undefined) throw new RequestError(ErrorCode.forbidden, `The statement does not count: ${fault}`);
    const outcome = await store.changeKeys({ user, after: history.newest, entry, effect });
    if (outcome === "done") return;
    if (outcome === "limit") throw new RequestError(ErrorCode.limit, "Your keys have changed as often as they may");
  }
  throw new RequestError(ErrorCode.busy, "Your keys are changing elsewhere: try again", RETRY_MS);
}

function parse(entry: Uint8Array): KeyStatement {
  try {
    const said = decodeKeyStatement(entry);
    if (said.type === "rotate") decodeCertificate(said.certificate);
    return said;
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new RequestError(ErrorCode.malformed, error.message);
  }
}

/** Each loses to a change of the same user that came in between. */
const ATTEMPTS_MAX = 4;
const RETRY_MS = 500;
