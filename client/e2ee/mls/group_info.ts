/**
 * What a group says of itself (SECURITY M9): kind, name, topic, roles, settings and invites, as one GroupContext extension.
 * It is part of what members agree on, so no server can change it, and only `policy.ts` says who may.
 */
import type { Extension, GroupContext } from "ts-mls";
import {
  array,
  bool,
  decode,
  DecodeError,
  encode,
  fixedBytes,
  hex,
  type Infer,
  struct,
  text,
  u48,
  u8,
} from "../../../shared/codec/mod.ts";
import { userName } from "../../../shared/protocol/mod.ts";

/** In every leaf's capabilities and in every group's required capabilities. */
export const GROUP_INFO_EXTENSION = 0xf0c1;

export const Kind = { direct: 1, group: 2 } as const;
/** Who is not listed is a member. */
export const Role = { member: 0, admin: 1, owner: 2 } as const;

const ROLES_MAX = 128;
const INVITES_MAX = 32;

const GROUP_INFO = struct({
  version: u8,
  kind: u8,
  name: text(256),
  topic: text(2048),
  /** Owners and admins only. The identity is named too: a stranger's certificate for the same name inherits nothing. */
  roles: array(struct({ user: userName, identity: hex(32), role: u8 }), ROLES_MAX),
  /** Whether plain members may add users; else admins only. */
  membersAdd: bool,
  /** Since when newcomers may be given history (SECURITY M15); 0: never. */
  historySinceMs: u48,
  /** Invite links that are open (SECURITY M14). */
  invites: array(struct({ id: hex(16), secret: fixedBytes(32) }), INVITES_MAX),
});

export type GroupInfo = Omit<Infer<typeof GROUP_INFO>, "version">;
export type RoleEntry = GroupInfo["roles"][number];

/** The extension as it stands in a GroupContext. */
export function groupInfoExtension(info: GroupInfo): Extension {
  return { extensionType: GROUP_INFO_EXTENSION, extensionData: encode(GROUP_INFO, { version: VERSION, ...info }) };
}

/** @throws DecodeError unless there is exactly one such extension, well-formed, of this version. */
export function readGroupInfo(extensions: GroupContext["extensions"]): GroupInfo {
  const found = extensions.filter((extension) => extension.extensionType === GROUP_INFO_EXTENSION);
  if (found.length !== 1) throw new DecodeError(`Group has ${found.length} descriptions, needs one`);
  const { version, ...info } = decode(GROUP_INFO, found[0]!.extensionData);
  if (version !== VERSION) throw new DecodeError(`Group's description is of version ${version}`);
  if (info.kind !== Kind.direct && info.kind !== Kind.group) throw new DecodeError(`Group is of kind ${info.kind}`);
  if (info.roles.some(({ role }) => role !== Role.admin && role !== Role.owner)) throw new DecodeError("Unknown role");
  if (new Set(info.roles.map(({ user }) => user)).size < info.roles.length) {
    throw new DecodeError("A user has two roles");
  }
  return info;
}

/** The role of a user under an identity. */
export function roleOf(info: GroupInfo, who: { readonly user: string; readonly identity: string }): number {
  const entry = info.roles.find(({ user, identity }) => user === who.user && identity === who.identity);
  return entry?.role ?? Role.member;
}

const VERSION = 1;
