/**
 * A suite for a commit that carries new keys and a new description in one. Keys are sealed for the description that comes with
 * them (RFC 9420 §12.4.1: the provisional GroupContext), and so the library opens them; but it seals them for the one before, so that
 * nobody else could follow such a commit. What it hands to HPKE is set right on its way.
 */
import type { GroupContext } from "ts-mls";
import { decodeVarLenData, varLenDataEncoder } from "ts-mls/codec/variableLength.js";
import { composeBufferEncoders, encode } from "ts-mls/codec/tlsEncoder.js";
import { decodeGroupContext, groupContextEncoder } from "ts-mls/groupContext.js";
import { equalBytes } from "../../../shared/crypto/mod.ts";
import type { Suite } from "./suite.ts";
import { decodeWhole } from "./wire.ts";

/** For one commit. @param extensions Of the GroupContext that it makes. */
export function describedSuite(suite: Suite, extensions: GroupContext["extensions"]): Suite {
  // The same for everybody to whom a key of this commit is sealed.
  let described: Uint8Array | undefined;
  const seal: Suite["hpke"]["seal"] = (publicKey, plaintext, info, aad) => {
    if (!isPathInfo(info)) return suite.hpke.seal(publicKey, plaintext, info, aad);
    described ??= withExtensions(info, extensions);
    return suite.hpke.seal(publicKey, plaintext, described, aad);
  };
  return { ...suite, hpke: { ...suite.hpke, seal } };
}

function isPathInfo(info: Uint8Array): boolean {
  return equalBytes(info.subarray(0, PATH_LABEL.length), PATH_LABEL);
}

function withExtensions(info: Uint8Array, extensions: GroupContext["extensions"]): Uint8Array {
  const context = decodeWhole(decodeVarLenData, info.subarray(PATH_LABEL.length));
  const before = context && decodeWhole(decodeGroupContext, context);
  if (before === undefined) throw new TypeError("Cannot seal a path: what it is sealed for is no GroupContext");
  const after = encode(groupContextEncoder)({ ...before, extensions });
  return encode(composeBufferEncoders([varLenDataEncoder, varLenDataEncoder]))([PATH_NAME, after]);
}

const PATH_NAME = new TextEncoder().encode("MLS 1.0 UpdatePathNode");
const PATH_LABEL = encode(varLenDataEncoder)(PATH_NAME);
