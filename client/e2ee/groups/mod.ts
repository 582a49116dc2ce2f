/** Conversations as MLS groups: what stands behind `client/e2ee/engine.ts`. The MLS library is loaded when it is needed. */
export { makeEngine, type OwnEngine } from "./engine.ts";
export type { Turn } from "./givers.ts";
export { type OpenedLetter, openLetter, sealLetter } from "./letter.ts";
export { type EngineOptions, type KeyLogView, NO_KEY_LOG, type People } from "./options.ts";
