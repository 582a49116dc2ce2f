/**
 * Where the rolling hash of an epoch begins (SECURITY M4): with the row of the commit that made it and its authenticator, which
 * whoever is in it knows, however they came in.
 */
import type { Group } from "../mls/mod.ts";
import type { Library } from "./library.ts";

export function historyOf(lib: Library, seq: number, group: Group): Uint8Array {
  return lib.nextHistory(lib.NO_HISTORY, seq, lib.authenticatorOf(group));
}
