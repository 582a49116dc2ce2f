/**
 * Comparing six digits on two screens (docs/PROTOCOL.md §18.1, SECURITY P10): what the new device and the one that lets it in do, in
 * order. One attempt: whatever goes wrong, its keys are forgotten with it, and the next one has others.
 */
import {
  compareLink,
  equalBytes,
  linkCommitment,
  type LinkComparison,
  linkLetterPlace,
  type LinkOffer,
  type LinkSide,
  newLinkOpening,
  oldLinkOpening,
  systemRandom,
  x25519,
} from "../../shared/crypto/mod.ts";
import { LINK_COMPARE_MS, LINK_MS } from "../../shared/limits.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { NumberDiffersError, TimedOutError } from "../errors.ts";
import { pause } from "../pause.ts";

/** What the two leave one another at a server, which need not be honest. */
export interface LinkServer {
  /** Where one meets under that name: what was left there. With a commitment: leaves it. */
  meet(user: UserName, commitment?: Uint8Array): Promise<Uint8Array | undefined>;
  /** The letter at a place, the given one where none was there. */
  letter(place: Uint8Array, letter?: Uint8Array): Promise<Uint8Array | undefined>;
  /** By the new device: leaves what it is, and asks what it was granted for it. */
  offer(place: Uint8Array, offer: Uint8Array): Promise<Uint8Array | undefined>;
  /** By the old device: what the new one has left. */
  find(place: Uint8Array): Promise<Uint8Array | undefined>;
}

export interface CompareOptions {
  readonly server: LinkServer;
  /** Whose devices they are. */
  readonly user: UserName;
  /** Shows the digits, and asks whether both screens show the same. */
  agree(digits: string): Promise<boolean>;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds on any clock. */
  readonly nowMs?: (() => number) | undefined;
  /** Between two questions to the server. */
  readonly wait?: (() => Promise<void>) | undefined;
}

/** Two devices whose people have agreed. */
export interface Compared {
  readonly comparison: LinkComparison;
  /** Where the grant is left, 32 bytes. */
  readonly place: Uint8Array;
}

/**
 * On the device that lets the other one in.
 *
 * @param options.onOpen The other one can come now: it has two minutes.
 * @throws NumberDiffersError, TimedOutError: the attempt is burnt, here and there.
 */
export async function compareAsOld(
  options: CompareOptions & { readonly clusterId: Uint8Array; onOpen(): void },
): Promise<Compared> {
  const { server, user, clusterId } = options, ephemeral = x25519(systemRandom), attempt = new Attempt(options);
  const opening = oldLinkOpening({ clusterId, ephemeral: ephemeral.publicKey });
  const commitment = linkCommitment("old", opening);
  await server.meet(user, commitment);
  options.onOpen();
  const theirs = await attempt.until(() => server.letter(joiningPlace(commitment)));
  const commitments = { old: commitment, new: theirs }, placeOf = placesOf(commitments);
  // Only now: until the other device was bound to its key, it must not know ours.
  await server.letter(placeOf("old opening"), opening);
  const opened = await attempt.until(() => server.find(placeOf("new opening")));
  const openings = { old: opening, new: opened };
  const comparison = checked(compareLink({ side: "old", user, ephemeral, commitments, openings }));
  await attempt.judge("old", comparison, placeOf);
  await attempt.until(async () => {
    const said = await server.letter(placeOf("new verdict"));
    return said && judged(said, comparison, "new");
  });
  return { comparison, place: placeOf("new opening") };
}

/**
 * On the device that wants in: waits for ten minutes until another one of that person lets it, and takes part in one comparison.
 *
 * @param options.device Its keys: all of them are in the digits.
 * @param options.onTaken Some other device has come first; this one waits for the next time.
 * @throws NumberDiffersError, TimedOutError: the attempt is burnt, here and there.
 */
export async function compareAsNew(
  options: CompareOptions & { readonly device: Omit<LinkOffer, "ephemeral">; onTaken(): void },
): Promise<Compared & { readonly granted: Uint8Array }> {
  const { server, user, device } = options, waiting = new Attempt(options, LINK_MS), missed = new Set<string>();
  for (;;) {
    const met = await waiting.until(async () => {
      const met = await server.meet(user);
      return met && missed.has(met.toHex()) ? undefined : met;
    });
    const ephemeral = x25519(systemRandom), attempt = new Attempt(options);
    const opening = newLinkOpening({ ...device, ephemeral: ephemeral.publicKey });
    const commitments = { old: met, new: linkCommitment("new", opening) }, placeOf = placesOf(commitments);
    const joined = await server.letter(joiningPlace(met), commitments.new);
    if (joined === undefined || !equalBytes(joined, commitments.new)) {
      missed.add(met.toHex());
      options.onTaken();
      continue;
    }
    const opened = await attempt.until(() => server.letter(placeOf("old opening")));
    const openings = { old: opened, new: opening };
    // Before this device opens its own: from then on there is nothing left that either could choose.
    const comparison = checked(compareLink({ side: "new", user, ephemeral, commitments, openings }));
    await server.offer(placeOf("new opening"), opening);
    await attempt.judge("new", comparison, placeOf);
    const granted = await new Attempt(options, GRANT_MS).until(async () => {
      const said = await server.letter(placeOf("old verdict"));
      if (said !== undefined) judged(said, comparison, "old");
      return await server.offer(placeOf("new opening"), opening);
    });
    return { comparison, place: placeOf("new opening"), granted };
  }
}

type Letter = `${LinkSide} ${"opening" | "verdict"}`;

/** So much time, and no more. */
class Attempt {
  readonly #options: CompareOptions;
  readonly #nowMs: () => number;
  readonly #endMs: number;

  constructor(options: CompareOptions, ms = LINK_COMPARE_MS) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
    this.#endMs = this.#nowMs() + ms;
  }

  /** What comes, in time. @throws TimedOutError */
  async until<T>(ask: () => Promise<T | undefined>): Promise<T> {
    for (;;) {
      const found = await ask();
      this.#check();
      if (found !== undefined) return found;
      const { signal, wait = () => pause(POLL_MS, signal) } = this.#options;
      await wait();
    }
  }

  /** Asks the person here, and tells the other device. @throws NumberDiffersError, TimedOutError */
  async judge(side: LinkSide, comparison: LinkComparison, placeOf: (letter: Letter) => Uint8Array): Promise<void> {
    const { agree, server } = this.#options;
    const say = (doesAgree: boolean) => server.letter(placeOf(`${side} verdict`), comparison.verdict(side, doesAgree));
    let doesAgree = false;
    try {
      doesAgree = await agree(comparison.digits);
      this.#check();
    } finally {
      // Also where the person went away, or took too long: the other device need not wait for that.
      await say(doesAgree && this.#isInTime()).catch(() => {});
    }
    if (!doesAgree) throw new NumberDiffersError(DIFFERENT);
  }

  #check(): void {
    if (this.#isInTime()) return;
    throw new TimedOutError("The time for this comparison is over, and nothing was linked: begin anew on both devices");
  }

  #isInTime(): boolean {
    return this.#nowMs() < this.#endMs;
  }
}

/** Where the new device leaves its commitment: the first one to come is the one. */
function joiningPlace(old: Uint8Array): Uint8Array {
  return linkLetterPlace("new commitment", old);
}

function placesOf(commitments: { readonly old: Uint8Array; readonly new: Uint8Array }) {
  return (letter: Letter) => linkLetterPlace(letter, commitments.old, commitments.new);
}

/** @throws NumberDiffersError unless the person there has agreed. */
function judged(said: Uint8Array, comparison: LinkComparison, side: LinkSide): true {
  if (equalBytes(said, comparison.verdict(side, true))) return true;
  throw new NumberDiffersError(
    equalBytes(said, comparison.verdict(side, false)) ? `On the other device it was not agreed. ${NOTHING}` : TAMPERED,
  );
}

function checked(comparison: LinkComparison | undefined): LinkComparison {
  if (comparison !== undefined) return comparison;
  throw new NumberDiffersError(TAMPERED);
}

const POLL_MS = 500;
/** How long the grant may take once both have agreed: it takes the password's work, and a device that was asked last. */
const GRANT_MS = 3 * 60_000;
const NOTHING = "Nothing was linked, and these digits are void: begin anew on both devices, or use the code";
const DIFFERENT = `You did not agree. ${NOTHING}`;
const TAMPERED = `The server handed over something else than what the other device had bound itself to. ${NOTHING}`;
