/** What all parts of the engine work with. */
import { CertificateCache } from "../certificate_cache.ts";
import type { OwnDevice } from "../mls/mod.ts";
import { Background } from "./background.ts";
import { GroupStore } from "./group_store.ts";
import { libraryOf, type Loaded } from "./library.ts";
import type { EngineOptions } from "./options.ts";
import { PendingRows } from "./pending_rows.ts";
import { Scrubber } from "./scrubber.ts";
import { Shelf } from "./shelf.ts";
import { StateRows } from "./state_row.ts";
import { Traces } from "./traces.ts";

export interface Context {
  readonly options: EngineOptions;
  readonly device: OwnDevice;
  readonly certificates: CertificateCache;
  readonly groups: GroupStore;
  readonly states: StateRows;
  readonly traces: Traces;
  readonly pending: PendingRows;
  readonly shelf: Shelf;
  readonly scrubber: Scrubber;
  readonly background: Background;
  load(): Promise<Loaded>;
}

export function makeContext(options: EngineOptions): Context {
  const { database, vault, self } = options;
  return {
    options,
    device: { certificate: self.certificate, leafPkcs8: self.keys.leaf.pkcs8 },
    certificates: new CertificateCache(self.clusterId),
    groups: new GroupStore(options),
    states: new StateRows(database, vault),
    traces: new Traces(database),
    pending: new PendingRows(database, vault),
    shelf: new Shelf(options),
    scrubber: new Scrubber(options),
    background: new Background(options.timers, options.hold),
    load: libraryOf(self.clusterId, options.suite),
  };
}
