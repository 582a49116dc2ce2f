/** What a call to the leader is made of (operations.ts has them all). */
import { read, type Reader, type Schema, write, type Writer } from "../../shared/codec/mod.ts";
import type { Hub } from "../bus/hub.ts";
import type { Store } from "./store.ts";

/** What the leader serves. */
export interface Served {
  readonly store: Store;
  readonly hub: Hub;
}

export interface Operation<A, R> {
  /** Number on the link; never reused. */
  readonly tag: number;
  readonly args: Schema<A>;
  /** What its result may hold, where that is much. */
  readonly resultBytesMax?: number;
  perform(served: Served, args: A): Promise<R>;
  writeResult(writer: Writer, result: R): void;
  readResult(reader: Reader): R;
}

export function operation<A, R>(
  tag: number,
  args: Schema<A>,
  result: Schema<R>,
  perform: (served: Served, args: A) => Promise<R>,
  resultBytesMax = 0,
): Operation<A, R> {
  return {
    tag,
    args,
    resultBytesMax,
    perform,
    writeResult: (writer, value) => write(result, writer, value),
    readResult: (reader) => read(result, reader),
  };
}

/** Gives a schema the contract's type, of which it describes every field. */
export function shaped<T>() {
  return <S extends T>(schema: Schema<S>): Schema<T> => schema as unknown as Schema<T>;
}

export function empty(): Record<never, never> {
  return {};
}

/** Items in one list on the link. Callers who ask for more get this many. */
export const LIST_ITEMS_MAX = 65_536;
