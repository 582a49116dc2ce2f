/** What a commit would do, read from it without doing it (SECURITY M5, M6, M8, M9): the same for every member who reads it. */
import type { ClientState, Commit, MLSMessage, ProposalOrRef } from "ts-mls";
import { unprotectPrivateMessage } from "ts-mls/messageProtection.js";
import { unprotectPublicMessage } from "ts-mls/messageProtectionPublic.js";
import { equalBytes } from "../../../shared/crypto/mod.ts";
import { decodeNotes } from "./commit_notes.ts";
import type { Holder } from "./credential.ts";
import type { Plan } from "./group.ts";
import { GROUP_INFO_EXTENSION, type GroupInfo, readGroupInfo } from "./group_info.ts";
import type { Change, Member, PolicyFault } from "./policy.ts";
import type { Mls } from "./profile.ts";
import { senderOf } from "./sender.ts";

/** Why a commit does not count. */
export type SkipReason =
  | PolicyFault
  | "malformed"
  | "standalone proposal"
  | "not by a member"
  | "forged"
  | "unknown proposal"
  | "bad credential"
  | "changes who its author is"
  | "changes other extensions"
  | "repeats a key"
  | "does not do what it says"
  | "does not open here";

/** A message that may hold one. */
export type CommitMessage = Extract<MLSMessage, { wireformat: "mls_private_message" | "mls_public_message" }>;

/** Authenticates a commit and says what it would do, without doing it. */
export async function planOf(
  mls: Mls,
  state: ClientState,
  message: CommitMessage,
): Promise<Plan | { readonly skip: SkipReason }> {
  const opened = await openCommit(mls, state, message);
  if (opened === undefined) return { skip: "forged" };
  const { commit, sender, authenticatedData } = opened;
  const notes = decodeNotes(authenticatedData);
  if (notes === undefined) return { skip: "malformed" };
  const change = await changeOf(mls, state, commit, sender === undefined ? "itself" : "member");
  if ("skip" in change) return change;
  if (sender === undefined) return { by: change.added[0]!, change, notes };
  if (commit.path !== undefined) {
    const { credential, signaturePublicKey } = commit.path.leafNode;
    const holder = await mls.credentials.verify(credential, signaturePublicKey);
    if (holder === undefined) return { skip: "bad credential" };
    const { user, device, identity } = sender;
    const same = holder.user === user && holder.device === device && holder.identity === identity;
    if (!same) return { skip: "changes who its author is" };
  }
  return { by: sender, change, notes };
}

interface OpenedCommit {
  readonly commit: Commit;
  /** `undefined` for a device that joins by itself. */
  readonly sender: Member | undefined;
  readonly authenticatedData: Uint8Array;
}

async function openCommit(
  { suite }: Mls,
  state: ClientState,
  message: CommitMessage,
): Promise<OpenedCommit | undefined> {
  try {
    if (message.wireformat === "mls_public_message") {
      const { content } = await unprotectPublicMessage(
        state.keySchedule.membershipKey,
        state.groupContext,
        state.ratchetTree,
        message.publicMessage,
        suite,
      );
      if (content.contentType !== "commit") return undefined;
      return { commit: content.commit, sender: undefined, authenticatedData: content.authenticatedData };
    }
    const { privateMessage } = message;
    const { content: { content } } = await unprotectPrivateMessage(
      state.keySchedule.senderDataSecret,
      privateMessage,
      state.secretTree,
      state.ratchetTree,
      state.groupContext,
      state.clientConfig.keyRetentionConfig,
      suite,
    );
    const sender = await senderOf(state, privateMessage, suite);
    if (content.contentType !== "commit" || sender === undefined) return undefined;
    return { commit: content.commit, sender: sender.member, authenticatedData: content.authenticatedData };
  } catch {
    return undefined;
  }
}

/** What the proposals of a commit amount to. Anything but inline Add, Remove and a new description is refused (M6). */
async function changeOf(
  mls: Mls,
  state: ClientState,
  { proposals, path }: Commit,
  by: Change["by"],
): Promise<Change | { readonly skip: SkipReason }> {
  const added: Omit<Member, "leaf">[] = [], removed: number[] = [];
  let info: GroupInfo | undefined, inits = 0;
  for (const entry of proposals) {
    const proposal = inlineProposal(entry);
    if (proposal === undefined) return { skip: "standalone proposal" };
    if (proposal.proposalType === "remove" && "remove" in proposal) {
      removed.push(proposal.remove.removed);
    } else if (proposal.proposalType === "external_init" && by === "itself") {
      inits++;
    } else if (proposal.proposalType === "add" && "add" in proposal && by === "member") {
      const { credential, signaturePublicKey } = proposal.add.keyPackage.leafNode;
      const holder = await mls.credentials.verify(credential, signaturePublicKey);
      if (holder === undefined) return { skip: "bad credential" };
      added.push(withoutKey(holder));
    } else if (
      proposal.proposalType === "group_context_extensions" && "groupContextExtensions" in proposal && by === "member" &&
      info === undefined
    ) {
      info = newInfo(state, proposal.groupContextExtensions.extensions);
      if (info === undefined) return { skip: "changes other extensions" };
    } else {
      return { skip: "unknown proposal" };
    }
  }
  if (by === "itself") {
    if (inits !== 1 || path === undefined) return { skip: "malformed" };
    const holder = await mls.credentials.verify(path.leafNode.credential, path.leafNode.signaturePublicKey);
    if (holder === undefined) return { skip: "bad credential" };
    added.push(withoutKey(holder));
  }
  return { by, added, removed, ...(info === undefined ? {} : { info }) };
}

function inlineProposal(entry: ProposalOrRef) {
  return entry.proposalOrRefType === "proposal" ? entry.proposal : undefined;
}

/** The new description, where all other extensions are repeated byte for byte and in their order (M9). */
function newInfo(state: ClientState, extensions: ClientState["groupContext"]["extensions"]): GroupInfo | undefined {
  const old = state.groupContext.extensions;
  const repeated = extensions.length === old.length &&
    extensions.every(({ extensionType, extensionData }, index) =>
      extensionType === old[index]!.extensionType &&
      (extensionType === GROUP_INFO_EXTENSION || equalBytes(extensionData, old[index]!.extensionData))
    );
  if (!repeated) return undefined;
  try {
    return readGroupInfo(extensions);
  } catch {
    return undefined;
  }
}

function withoutKey({ leafKey: _, ...holder }: Holder): Omit<Member, "leaf"> {
  return holder;
}
