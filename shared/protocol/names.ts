/** Branded names and ids. Parsed into the brand once, at the door; everything behind it trusts the type. */
import { type Schema } from "../codec/mod.ts";
import { branded, hex, text, textLike } from "../codec/mod.ts";
import { NAME_CHARS_MAX } from "../limits.ts";

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** A user's name as it is stored and compared: lower case, 1 to 32 of `a-z 0-9 . _ -`, beginning with a letter or digit. */
export type UserName = Brand<string, "UserName">;
/** 16 bytes as 32 lower-case hex digits. */
export type ConversationId = Brand<string, "ConversationId">;
/** 16 random bytes chosen by the sending device, as 32 hex digits: what makes `append` idempotent. */
export type MessageId = Brand<string, "MessageId">;
/** 16 random bytes chosen by the device, as 32 hex digits. */
export type DeviceId = Brand<string, "DeviceId">;

export const conversationId: Schema<ConversationId> = branded<ConversationId, string>(hex(16));
export const messageId: Schema<MessageId> = branded<MessageId, string>(hex(16));
export const deviceId: Schema<DeviceId> = branded<DeviceId, string>(hex(16));
/** A name on the wire. Decoding bounds its length only; the receiver passes it through {@linkcode parseUserName}. */
export const nameText: Schema<string> = text(4 * NAME_CHARS_MAX);

const NAME = /^[a-z0-9][a-z0-9._-]{0,31}$/;
/**
 * A name in a server's answer or a store's row. One in any other spelling is refused: names are shown to people as they are,
 * and a lying server must not have a terminal obey what it calls one (SECURITY M2).
 */
export const userName: Schema<UserName> = branded<UserName, string>(textLike(NAME, NAME_CHARS_MAX));

/** Parses what a person typed or a peer sent; names are case-insensitive. `undefined` where it is not a name. */
export function parseUserName(input: string): UserName | undefined {
  const name = input.toLowerCase();
  return NAME.test(name) ? name as UserName : undefined;
}

/** For messages to people: what a name may be. */
export const NAME_RULE = `1 to ${NAME_CHARS_MAX} of a-z 0-9 . _ -, beginning with a letter or digit`;

/** Reads an id that must be 32 hex digits. `undefined` where it is not. */
export function parseId<T extends ConversationId | MessageId | DeviceId>(input: string): T | undefined {
  return /^[0-9a-f]{32}$/.test(input) ? input as T : undefined;
}
