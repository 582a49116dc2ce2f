/** The MLS layer, loaded when the first group is touched: commands that touch none do not pay for it. */
import { CertificateCache } from "../certificate_cache.ts";
import type { Mls, SuiteName } from "../mls/mod.ts";

export type Library = typeof import("../mls/mod.ts");

export interface Loaded {
  readonly lib: Library;
  readonly mls: Mls;
}

/** @param clusterId 16 bytes: certificates of other clusters are refused. */
export function libraryOf(clusterId: Uint8Array, suite: SuiteName | undefined): () => Promise<Loaded> {
  let loaded: Promise<Loaded> | undefined;
  return () =>
    loaded ??= (async () => {
      const lib = await import("../mls/mod.ts");
      const credentials = new lib.Credentials(new CertificateCache(clusterId));
      return { lib, mls: { suite: await lib.loadSuite(suite), credentials } };
    })();
}
