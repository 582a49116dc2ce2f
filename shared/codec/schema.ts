/**
 * One definition yields the TypeScript type, the encoder and the decoder.
 *
 * A schema is plain data of one shape, walked by one `switch`: closures generated per type are faster for one type and
 * eight times slower once a program has many, because every call site goes megamorphic.
 *
 * Decoding reads only inside its input, allocates no more than the input justifies, and {@linkcode decode} refuses
 * trailing bytes.
 */
import { assert, AssertionError } from "../assert.ts";
import { DecodeError } from "./error.ts";
import { Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

enum Kind {
  U8,
  U16,
  U32,
  U48,
  Varint,
  Bool,
  FixedBytes,
  Bytes,
  Hex,
  Text,
  Array,
  Optional,
  Struct,
  Union,
}

/** A description of values of type `T`. Build one with the functions below; the fields are for the walker only. */
export interface Schema<T> {
  readonly kind: Kind;
  /** Exact size for fixed kinds, largest size or count for the others. */
  readonly bound: number;
  readonly item: Schema<unknown> | undefined;
  readonly names: readonly string[];
  readonly fields: readonly Schema<unknown>[];
  readonly tags: readonly number[];
  /** What a text must look like; any text where it is left out. */
  readonly pattern?: RegExp;
  /** Only for the type; never there at run time. */
  readonly value?: T;
}

/** The type of the values that a schema describes. */
export type Infer<S> = S extends Schema<infer T> ? T : never;

/** One byte, 0 to 255. */
export const u8: Schema<number> = leaf(Kind.U8);
/** Two bytes, big-endian. */
export const u16: Schema<number> = leaf(Kind.U16);
/** Four bytes, big-endian. */
export const u32: Schema<number> = leaf(Kind.U32);
/** Six bytes, big-endian: milliseconds since 1970. */
export const u48: Schema<number> = leaf(Kind.U48);
/** RFC 9000 §16, up to 2^53-1. */
export const varint: Schema<number> = leaf(Kind.Varint);
/** One byte, 0 or 1; anything else is refused, so that a value has one encoding. */
export const bool: Schema<boolean> = leaf(Kind.Bool);

/** Exactly `length` bytes. */
export function fixedBytes(length: number): Schema<Uint8Array> {
  return leaf(Kind.FixedBytes, length);
}

/** A varint length, then up to `lengthMax` bytes. */
export function bytes(lengthMax: number): Schema<Uint8Array> {
  return leaf(Kind.Bytes, lengthMax);
}

/** Exactly `length` bytes on the wire, a string of 2 × `length` lower-case hex digits in memory: a usable Map key. */
export function hex(length: number): Schema<string> {
  return leaf(Kind.Hex, length);
}

/** A varint length, then up to `bytesMax` bytes of valid UTF-8. */
export function text(bytesMax: number): Schema<string> {
  return leaf(Kind.Text, bytesMax);
}

/** As {@linkcode text}, and it matches `pattern`: decoding refuses anything else. @param pattern Anchored, without flags. */
export function textLike(pattern: RegExp, bytesMax: number): Schema<string> {
  return { ...leaf<string>(Kind.Text, bytesMax), pattern };
}

/** A varint count, then up to `itemsMax` items. */
export function array<T>(item: Schema<T>, itemsMax: number): Schema<T[]> {
  return { kind: Kind.Array, bound: itemsMax, item, names: [], fields: [], tags: [] };
}

/** A bool, then the value if it was true. */
export function optional<T>(item: Schema<T>): Schema<T | undefined> {
  return { kind: Kind.Optional, bound: 0, item, names: [], fields: [], tags: [] };
}

/** The fields one after the other, in the order written. */
export function struct<F extends Record<string, Schema<unknown>>>(
  fields: F,
): Schema<{ [K in keyof F]: Infer<F[K]> }> {
  return {
    kind: Kind.Struct,
    bound: 0,
    item: undefined,
    names: Object.keys(fields),
    fields: Object.values(fields),
    tags: [],
  };
}

/**
 * A varint tag, then the struct it names. In memory a value is `{ type: name, ...fields }`.
 *
 * @param variants name → [tag, schema of a struct]; tags are forever.
 */
export function union<V extends Record<string, readonly [number, Schema<object>]>>(
  variants: V,
): Schema<{ [K in keyof V & string]: { type: K } & Infer<V[K][1]> }[keyof V & string]> {
  const tags = Object.values(variants).map(([tag]) => tag);
  assert(new Set(tags).size === tags.length, "Tags of a union differ");
  return {
    kind: Kind.Union,
    bound: 0,
    item: undefined,
    names: Object.keys(variants),
    fields: Object.values(variants).map(([, schema]) => schema),
    tags,
  };
}

/** The same bytes under a branded type: `branded<UserName>(text(32))`. */
export function branded<B extends T, T = unknown>(schema: Schema<T>): Schema<B> {
  return schema as unknown as Schema<B>;
}

/** Encodes into fresh bytes. */
export function encode<T>(schema: Schema<T>, value: T): Uint8Array {
  const writer = new Writer();
  write(schema, writer, value);
  return writer.finish();
}

/** Decodes all of `input`. @throws DecodeError on anything that {@linkcode encode} would not have written. */
export function decode<T>(schema: Schema<T>, input: Uint8Array): T {
  return decodeAll(schema, new Reader(input));
}

/**
 * {@linkcode decode} of bytes that are given over: those in the value are views into `input`, and keep it alive. Memory of
 * their own for some hundred bytes costs more than reading them.
 */
export function decodeOwn<T>(schema: Schema<T>, input: Uint8Array): T {
  return decodeAll(schema, new Reader(input, 0, input.length, true));
}

/**
 * The tag of a message that this union does not have: it may come from a newer version of it. `undefined` where the union has it,
 * or where there is no tag at all.
 */
export function unknownTag(union: Schema<unknown>, input: Uint8Array): number | undefined {
  assert(union.kind === Kind.Union, "Only a union has tags");
  try {
    const tag = new Reader(input).varint();
    return union.tags.includes(tag) ? undefined : tag;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function decodeAll<T>(schema: Schema<T>, reader: Reader): T {
  const value = read(schema, reader);
  reader.finish();
  return value;
}

/** Appends `value` to `writer`. A value outside its schema's bounds is our bug and asserts. */
export function write<T>(schema: Schema<T>, writer: Writer, value: T): void {
  writeNode(schema as Schema<unknown>, writer, value);
}

/** Reads one value. @throws DecodeError */
export function read<T>(schema: Schema<T>, reader: Reader): T {
  return readNode(schema as Schema<unknown>, reader) as T;
}

function leaf<T>(kind: Kind, bound = 0): Schema<T> {
  return { kind, bound, item: undefined, names: [], fields: [], tags: [] };
}

function writeNode(schema: Schema<unknown>, writer: Writer, value: unknown): void {
  switch (schema.kind) {
    case Kind.U8:
      return writer.u8(value as number);
    case Kind.U16:
      return writer.u16(value as number);
    case Kind.U32:
      return writer.u32(value as number);
    case Kind.U48:
      return writer.u48(value as number);
    case Kind.Varint:
      return writer.varint(value as number);
    case Kind.Bool:
      return writer.u8(value ? 1 : 0);
    case Kind.FixedBytes: {
      const bytes = value as Uint8Array;
      if (bytes.length !== schema.bound) {
        throw new AssertionError(`Fixed bytes are ${bytes.length}, not ${schema.bound}`);
      }
      return writer.bytes(bytes);
    }
    case Kind.Bytes:
      return writeBytes(schema, writer, value as Uint8Array);
    case Kind.Hex: {
      const digits = (value as string).length;
      if (digits !== 2 * schema.bound) throw new AssertionError(`Hex is ${digits / 2} bytes, not ${schema.bound}`);
      return writer.hex(value as string);
    }
    case Kind.Text:
      return writeText(schema, writer, value as string);
    case Kind.Array: {
      const items = value as unknown[];
      if (items.length > schema.bound) {
        throw new AssertionError(`Array has ${items.length} items, at most ${schema.bound}`);
      }
      writer.varint(items.length);
      for (const item of items) writeNode(schema.item!, writer, item);
      return;
    }
    case Kind.Optional:
      writer.u8(value === undefined ? 0 : 1);
      if (value !== undefined) writeNode(schema.item!, writer, value);
      return;
    case Kind.Struct: {
      const object = value as Record<string, unknown>;
      for (let i = 0; i < schema.fields.length; i++) writeNode(schema.fields[i]!, writer, object[schema.names[i]!]);
      return;
    }
    case Kind.Union: {
      const index = schema.names.indexOf((value as { type: string }).type);
      if (index < 0) throw new AssertionError(`Union has no ${(value as { type: string }).type}`);
      writer.varint(schema.tags[index]!);
      return writeNode(schema.fields[index]!, writer, value);
    }
  }
}

function readNode(schema: Schema<unknown>, reader: Reader): unknown {
  switch (schema.kind) {
    case Kind.U8:
      return reader.u8();
    case Kind.U16:
      return reader.u16();
    case Kind.U32:
      return reader.u32();
    case Kind.U48:
      return reader.u48();
    case Kind.Varint:
      return reader.varint();
    case Kind.Bool:
      return readBool(reader);
    case Kind.FixedBytes:
      return reader.bytes(schema.bound);
    case Kind.Bytes:
      return reader.bytes(readLength(schema, reader));
    case Kind.Hex:
      return reader.view(schema.bound).toHex();
    case Kind.Text:
      return checkText(schema, reader.text(readLength(schema, reader)));
    case Kind.Array: {
      // Each item takes at least a byte of what remains, or nothing at all: either way no allocation runs ahead of input.
      const count = readLength(schema, reader);
      const items: unknown[] = [];
      for (let i = 0; i < count; i++) items.push(readNode(schema.item!, reader));
      return items;
    }
    case Kind.Optional:
      return readBool(reader) ? readNode(schema.item!, reader) : undefined;
    case Kind.Struct:
      return readFields(schema, reader, {});
    case Kind.Union: {
      const tag = reader.varint();
      const index = schema.tags.indexOf(tag);
      if (index < 0) throw new DecodeError(`Unknown tag ${tag}`);
      return readFields(schema.fields[index]!, reader, { type: schema.names[index] });
    }
  }
}

function readFields(schema: Schema<unknown>, reader: Reader, object: Record<string, unknown>): unknown {
  for (let i = 0; i < schema.fields.length; i++) object[schema.names[i]!] = readNode(schema.fields[i]!, reader);
  return object;
}

function writeBytes(schema: Schema<unknown>, writer: Writer, bytes: Uint8Array): void {
  // Not `assert`: its text would be put together each time.
  if (bytes.length > schema.bound) throw new AssertionError(`Bytes are ${bytes.length}, at most ${schema.bound}`);
  writer.varint(bytes.length);
  writer.bytes(bytes);
}

function readLength(schema: Schema<unknown>, reader: Reader): number {
  const length = reader.varint();
  if (length > schema.bound) throw new DecodeError(`Length is ${length}, at most ${schema.bound}`);
  return length;
}

function readBool(reader: Reader): boolean {
  const value = reader.u8();
  if (value > 1) throw new DecodeError(`Bool is ${value}`);
  return value === 1;
}

function checkText({ pattern }: Schema<unknown>, text: string): string {
  if (pattern !== undefined && !pattern.test(text)) throw new DecodeError("Text is not of the form that it must have");
  return text;
}

function writeText(schema: Schema<unknown>, writer: Writer, text: string): void {
  // Short enough for a length of one byte, and most names and all numbers are ASCII.
  if (text.length <= schema.bound && writer.shortText(text)) return;
  writeBytes(schema, writer, TEXT_ENCODER.encode(text));
}

const TEXT_ENCODER = new TextEncoder();
