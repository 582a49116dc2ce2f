/**
 * MLS groups (RFC 9420) on the client: a thin layer over `ts-mls`. This door is loaded with `import()` when the first group
 * is touched, so that commands which touch none do not load the library.
 */
export { type CommitNotes, NO_NOTES } from "./commit_notes.ts";
export type { SkipReason } from "./commit_plan.ts";
export { Credentials, type Holder, makeCredential, readCredential } from "./credential.ts";
export { type Invitation, joinByItself, makeInvitation, type SelfJoin } from "./external.ts";
export {
  authenticatorOf,
  certificateOf,
  ChangeRefused,
  commitChange,
  type Committed,
  createGroup,
  epochOf,
  forgetOldEpochs,
  type Group,
  type Intent,
  type MessageToSeal,
  oldestEndMs,
  type Pending,
  rosterOf,
  sealMessage,
  selfIn,
  type WelcomeFor,
  withoutPending,
} from "./group.ts";
export {
  GROUP_INFO_EXTENSION,
  type GroupInfo,
  groupInfoExtension,
  Kind,
  Role,
  type RoleEntry,
  roleOf,
} from "./group_info.ts";
export { type Joined, joinFromWelcome, type JoinOptions, JoinRefused, welcomeRefs } from "./join.ts";
export {
  type CheckedKeyPackage,
  type KeyPackageFault,
  type KeyPackageVerdict,
  makeKeyPackage,
  type OwnKeyPackage,
  readKeyPackage,
} from "./key_packages.ts";
export { leaversBy, signLeave } from "./leave_proof.ts";
export { ContentType, type Plaintext } from "./plaintext.ts";
export {
  allowed,
  type Change,
  type Grounds,
  type IdentityOf,
  type MayComeIn,
  type Member,
  type PolicyFault,
  type Roster,
  withoutAbsent,
} from "./policy.ts";
export { EPOCH_MS_KEPT, type Mls, type OwnDevice } from "./profile.ts";
export { isCommit, type Outcome, peekNotes, receive, type ReceiveOptions, type RefusalReason } from "./receive.ts";
export { type Changes, changesOf, loadGroup } from "./state.ts";
export { loadSuite, type Suite, type SuiteName } from "./suite.ts";
export { turnMs } from "./turn.ts";
export { judgeView, type Known, nextHistory, NO_HISTORY, type View, type ViewVerdict } from "./view.ts";
