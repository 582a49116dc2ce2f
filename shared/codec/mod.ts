/** Bytes and values: bounds-checked cursors, varints and schemas. Pure; knows no message of ours. */
export * from "./error.ts";
export * from "./reader.ts";
export * from "./writer.ts";
export * from "./varint.ts";
export * from "./schema.ts";
export { fromHex } from "./text.ts";
