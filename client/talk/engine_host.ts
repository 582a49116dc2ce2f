/**
 * The engine of encrypted conversations in its place: made when it is first needed, used only while this process owns the home
 * (SECURITY M11), over whatever connection there is.
 *
 * What the engine does by itself, by a timer or behind an answer, holds the home as well, until it is done: nobody else comes in
 * between a request and what follows from it. What pauses has a share for each of its requests, which is kept for a moment longer
 * than that takes.
 */
import { systemRandom } from "../../shared/crypto/mod.ts";
import type { ConversationId, Record } from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";
import type { Engine, Step, Taken, Warning } from "../e2ee/engine.ts";
import { makeEngine, type OwnEngine, type Turn } from "../e2ee/groups/mod.ts";
import type { AccountKey } from "../account/account_key.ts";
import { CannotReachError } from "../errors.ts";
import type { Conversations } from "./conversations.ts";
import type { KeyLog } from "../trust/key_log.ts";
import type { Keyring, Self } from "../trust/keyring.ts";
import { isTransient, type Link, patiently } from "../network/link.ts";
import { Ownership } from "../home/ownership.ts";
import { ServerRefusal } from "../network/failures.ts";
import type { Remote } from "../network/remote.ts";
import { systemTimers, type Timers } from "../timers.ts";

export interface EngineHostOptions {
  readonly directory: string;
  readonly database: Database;
  readonly conversations: Conversations;
  readonly self: Self;
  readonly keyring: Keyring;
  readonly keyLog: KeyLog;
  readonly link: Link;
  accountKey(): AccountKey | undefined;
  /** HOST:PORT, for invite links. */
  readonly server: string;
  /** Of the cluster's key, 32 bytes. */
  clusterFingerprint(): Uint8Array;
  takeText(record: Record): Promise<{ readonly taken: Taken; readonly step: Step }>;
  onReaches(conversation: ConversationId, seq: number): void;
  onWarning(conversation: ConversationId, warning: Warning): void;
  /** This device came in without a row that says so. */
  onJoined(engine: Engine, conversation: ConversationId, taken: Joined): void;
  onChanged(conversation: ConversationId): void;
  /** As in the engine's options. */
  onComers(conversation: ConversationId, comers: readonly Turn[], upTo: number): void;
  /** The server takes nothing for now, and says why; it is tried again. */
  onHeldUp(error: ServerRefusal): void;
}

/** What coming in meant. */
export type Joined = Extract<Taken, { kind: "change" | "nothing" }>;

export class EngineHost {
  readonly ownership: Ownership;
  readonly #options: EngineHostOptions;
  readonly #closing = new AbortController();
  readonly #timers = new Set<() => void>();
  #making: Promise<Engine> | undefined;
  #engine: OwnEngine | undefined;

  constructor(options: EngineHostOptions) {
    const { directory, database } = options;
    this.#options = options;
    this.ownership = new Ownership({ directory, database, onGained: () => this.#engine?.forget() });
  }

  /** The engine. Use it only with a share of {@linkcode ownership}. @throws CannotReachError, RefusedError */
  get(): Promise<Engine> {
    return this.#making ??= this.#make().catch((error) => {
      this.#making = undefined;
      throw error;
    });
  }

  /** Runs with the engine, when this process owns the home. @throws Where the host is closed, or the signal's reason. */
  with<T>(work: (engine: Engine) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const both = AbortSignal.any([this.#closing.signal, ...(signal ? [signal] : [])]);
    return this.ownership.with(async () => await work(await this.get()), both);
  }

  /** Resolves when nothing is on its way that other devices of this user come in by. */
  async left(): Promise<void> {
    await this.#engine?.left();
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.#closing.abort(new CannotReachError("The client is closed"));
    this.ownership.close();
    for (const cancel of [...this.#timers]) cancel();
    await this.#engine?.close();
  }

  async #make(): Promise<Engine> {
    const { database, conversations, self, keyring, keyLog, server, link } = this.#options;
    const certificate = await keyring.ownCertificate(this.#remote());
    return this.#engine = makeEngine({
      database: this.#guarded(database),
      vault: database.vault,
      self: { ...self, certificate },
      people: {
        pinned: (name) => keyring.pinned(name),
        check: (name, fingerprint) => keyring.check(name, fingerprint),
        changed: (name, offered) => keyring.changed(name, offered),
        entry: (name) => keyring.entry(name),
        fetch: (names) => keyring.fetch(names, this.#remote()),
      },
      keyLog,
      accountKey: () => this.#options.accountKey(),
      ask: ((request: never, signal?: AbortSignal) => this.#ask(request, signal)) as Remote["ask"],
      peerOf: (conversation) => conversations.get(conversation)?.peer || undefined,
      takeText: (record) => this.#options.takeText(record),
      onReaches: (conversation, seq) => this.#options.onReaches(conversation, seq),
      onWarning: (conversation, warning) => this.#options.onWarning(conversation, warning),
      onJoined: (conversation, taken) => this.#options.onJoined(this.#engine!, conversation, taken),
      onComers: (conversation, comers, upTo) => this.#options.onComers(conversation, comers, upTo),
      onChanged: (conversation) => this.#options.onChanged(conversation),
      hold: () => this.#hold(),
      nowMs: () => Date.now(),
      timers: { nowMs: systemTimers.nowMs, after: (ms, run) => this.#after(ms, run) },
      random: systemRandom,
      serverAddress: () => link.server || server,
      clusterFingerprint: this.#options.clusterFingerprint(),
    });
  }

  #remote(): Remote {
    const { remote } = this.#options.link;
    if (remote === undefined) throw new CannotReachError("There is no connection");
    return remote;
  }

  async #ask(request: Parameters<Remote["ask"]>[0], signal?: AbortSignal) {
    const hold = this.ownership.share();
    // It is done again with the next connection, by whoever owns the home then.
    if (hold === undefined) throw new CannotReachError("Another process of this home takes and seals");
    try {
      const remote = this.#remote();
      return await patiently(() =>
        remote.ask(request, signal).catch((error) => {
          if (error instanceof ServerRefusal && isTransient(error)) this.#options.onHeldUp(error);
          throw error;
        })
      );
    } finally {
      hold.release();
    }
  }

  /** Sealing takes a busy machine longer than a share lingers. Not for ever: others of this home wait. */
  #hold(): () => void {
    const hold = this.ownership.share();
    if (hold === undefined) return () => {};
    const cancel = systemTimers.after(HELD_MS_MAX, () => hold.release());
    return () => {
      cancel();
      hold.release();
    };
  }

  /** A timer's work is for who owns the home when it is due. */
  readonly #after: Timers["after"] = (ms, run) => {
    let isOver = false, stop = () => {};
    const cancel = () => {
      isOver = true;
      stop();
      this.#timers.delete(cancel);
    };
    const fire = async () => {
      const hold = await this.ownership.tryHold();
      if (isOver) return hold?.release();
      if (hold === undefined) return stop = systemTimers.after(LOCK_RETRY_MS, () => void fire());
      cancel();
      run();
      hold.release();
    };
    stop = systemTimers.after(ms, () => void fire());
    this.#timers.add(cancel);
    return cancel;
  };

  /** Nothing that another process may have changed meanwhile is written over. */
  #guarded(database: Database): Database {
    const transaction = <T>(change: () => T): T => {
      if (!this.ownership.isHeld) throw new CannotReachError("Another process of this home takes and seals");
      return database.transaction(change);
    };
    const bound = new Map<PropertyKey, unknown>([["transaction", transaction]]);
    return new Proxy(database, {
      get(target, key) {
        const known = bound.get(key);
        if (known !== undefined) return known;
        const value = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        const method = value.bind(target);
        bound.set(key, method);
        return method;
      },
    });
  }
}

const LOCK_RETRY_MS = 500;
const HELD_MS_MAX = 10_000;
