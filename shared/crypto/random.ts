/** Where randomness comes from: the operating system in production. Simulations hand in a seeded source of their own. */
import { randomBytes } from "node:crypto";
import type { RandomSource } from "../primitives.ts";

/** The operating system's generator. */
export const systemRandom: RandomSource = {
  // A copy: small `Buffer`s share one pool, and what is handed out may be transferred or live long.
  bytes: (length) => new Uint8Array(randomBytes(length)),
};
