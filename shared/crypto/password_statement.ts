/**
 * What an identity says of its owner's password (docs/PROTOCOL.md §17): how it is stretched from now on. A device that knew
 * another salt follows no server's word for it, but this (SECURITY P1).
 */
import { assert } from "../assert.ts";
import { encode, fixedBytes, struct, text, u48, u8 } from "../codec/mod.ts";
import type { Stretching, UserName } from "../protocol/mod.ts";
import { importPssPublic, pssSign, pssVerify } from "./rsa.ts";

export interface PasswordStatement {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  readonly name: UserName;
  readonly stretching: Stretching;
  /** Rises with every change: an older statement is not believed again. From 1. */
  readonly serial: number;
}

/** RSA-PSS by the identity: 384 bytes. */
export function signPasswordStatement(identityPrivate: CryptoKey, statement: PasswordStatement): Promise<Uint8Array> {
  return pssSign(identityPrivate, statementBytes(statement));
}

/** @param identityKey SPKI DER; whether it is the right one is for the caller to know. */
export async function verifyPasswordStatement(
  identityKey: Uint8Array,
  statement: PasswordStatement,
  signature: Uint8Array,
): Promise<boolean> {
  return await pssVerify(await importPssPublic(identityKey), signature, statementBytes(statement));
}

function statementBytes({ clusterId, name, stretching: { salt, log2N }, serial }: PasswordStatement): Uint8Array {
  assert(Number.isSafeInteger(serial) && serial > 0, `A password's serial is from 1, not ${serial}`);
  return encode(STATEMENT, { label: "fastchat/password/1", clusterId, name, salt, log2N, serial });
}

const STATEMENT = struct({
  label: text(64),
  clusterId: fixedBytes(16),
  name: text(256),
  salt: fixedBytes(16),
  log2N: u8,
  serial: u48,
});
