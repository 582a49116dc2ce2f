/** Which answers fit which request (docs/PROTOCOL.md §7); any may be refused. */
import type { RequestType, Response, ResponseOf } from "../../shared/protocol/mod.ts";

/** Appends go on their conversation's stream: see `Remote.append()`. */
export type Askable = Exclude<RequestType, "append">;

/** What a granted request of that kind is answered with. */
export type AnswerTo<K extends Askable> = ResponseOf<(typeof ANSWERS)[K][number]>;

export function isAnswerTo(request: Askable, { type }: Response): boolean {
  const fitting: readonly Response["type"][] = ANSWERS[request];
  return fitting.includes(type);
}

/** What each request is answered with, where it is granted. */
const ANSWERS = {
  stretch: ["stretching"],
  register: ["session"],
  login: ["session", "enrolNeeded"],
  backup: ["backup"],
  enrol: ["session"],
  resume: ["session"],
  logout: ["ok"],
  users: ["users"],
  directory: ["directory"],
  openDirect: ["conversation"],
  sync: ["sync"],
  read: ["records", "restored"],
  acknowledge: ["ok"],
  subscribe: ["ok"],
  receipts: ["ok"],
  receiptsOf: ["receipts"],
  watch: ["presence"],
  putKeyPackages: ["keyPackageStock"],
  takeKeyPackages: ["keyPackages"],
  createGroup: ["conversation"],
  commit: ["stored"],
  leave: ["stored"],
  welcome: ["welcome"],
  ask: ["ok"],
  asks: ["asks"],
  invite: ["ok"],
  dropAsk: ["ok"],
  members: ["users"],
  keyLog: ["keyLog"],
  keyEntries: ["keyEntries"],
  stateKeys: ["ok"],
  rotate: ["ok"],
  nameDevice: ["ok"],
  devices: ["devices"],
  linkOffer: ["linkGranted"],
  linkFind: ["linkOffer"],
  linkGrant: ["ok"],
  linkLogin: ["session"],
  linkMeet: ["linkLetter"],
  linkLetter: ["linkLetter"],
  setRecovery: ["ok"],
  recover: ["recovery"],
  finishRecovery: ["session"],
  credentials: ["credentials"],
  changePassword: ["ok"],
  ownBackup: ["backup"],
  setArchiveKey: ["ok"],
  putArchiveChunk: ["ok"],
  archive: ["archive"],
  archiveChunks: ["archiveChunks"],
  dropArchive: ["ok"],
  putHistory: ["ok", "historyGiven"],
  history: ["historyParts"],
  dropHistory: ["ok"],
} as const satisfies { readonly [K in Askable]: readonly Response["type"][] };
