/**
 * bcrypt in a few Workers behind a bounded queue (SECURITY P2, P7).
 *
 * A queue that is full, in all or for one address, answers `busy` with the time after which it should have moved on. Devices
 * that have proved themselves have a lane of their own that is served first: a flood of strangers' wrong passwords does not
 * stand before them. Workers are started when they are first needed; one that dies is replaced, and its job done once more.
 */
import { ErrorCode, RequestError } from "../shared/errors.ts";
import { type Logger, silentLogger } from "../shared/log.ts";
import type { PasswordAnswer, PasswordJob } from "./password_worker.ts";

/** What handlers need of it. */
export interface PasswordHasher {
  /** The bcrypt hash of a login secret. @throws RequestError busy */
  hash(secret: LoginSecret, asker: PasswordAsker): Promise<string>;
  /** Whether the secret is the one of that hash. @throws RequestError busy */
  matches(secret: LoginSecret, hash: string, asker: PasswordAsker): Promise<boolean>;
}

declare const brand: unique symbol;
/** 43 base64url characters: what bcrypt is given, and nothing else (SECURITY P2). */
export type LoginSecret = string & { readonly [brand]: "LoginSecret" };

/**
 * The one door to bcrypt. Raw bytes must not come near it: decoded as UTF-8 many of them become the same replacement
 * character, NUL ends a password for some implementations, and all cut at 72 bytes.
 */
export function parseLoginSecret(text: string): LoginSecret | undefined {
  return LOGIN_SECRET.test(text) ? text as LoginSecret : undefined;
}

export interface PasswordAsker {
  /** From `addressKey`. */
  readonly address: string;
  /** An enrolled device that has proved itself (P6). */
  readonly proven: boolean;
}

export interface PasswordPoolOptions {
  /** Workers at most. */
  readonly size?: number;
  /** Jobs waiting, in all and per address. */
  readonly queuedMax?: number;
  readonly queuedPerAddressMax?: number;
  /** bcrypt's cost. 10: its input is already a key of 256 bits. */
  readonly cost?: number;
  readonly startWorker?: () => Worker;
  readonly logger?: Logger;
}

export class PasswordPool implements PasswordHasher {
  readonly #options: Required<PasswordPoolOptions>;
  readonly #seats: Seat[];
  readonly #proven: Job[] = [];
  readonly #strangers: Job[] = [];
  /** Jobs waiting by address; an address with none has no entry. */
  readonly #waiting = new Map<string, number>();
  #averageMs = JOB_MS_GUESS;
  #closed = false;
  /** Hashes and comparisons done. */
  runs = 0;
  /** Jobs refused as busy. */
  refused = 0;

  constructor(options: PasswordPoolOptions = {}) {
    this.#options = {
      size: options.size ?? 2,
      queuedMax: options.queuedMax ?? QUEUED_MAX,
      queuedPerAddressMax: options.queuedPerAddressMax ?? QUEUED_PER_ADDRESS_MAX,
      cost: options.cost ?? BCRYPT_COST,
      startWorker: options.startWorker ?? startWorker,
      logger: options.logger ?? silentLogger,
    };
    this.#seats = Array.from({ length: this.#options.size }, () => ({ worker: undefined, job: undefined }));
  }

  async hash(secret: LoginSecret, asker: PasswordAsker): Promise<string> {
    const answer = await this.#perform({ kind: "hash", secret, cost: this.#options.cost }, asker);
    if (!("hash" in answer)) throw new RequestError(ErrorCode.internal, "Cannot hash the login secret");
    return answer.hash;
  }

  async matches(secret: LoginSecret, hash: string, asker: PasswordAsker): Promise<boolean> {
    const answer = await this.#perform({ kind: "matches", secret, hash }, asker);
    if (!("matches" in answer)) throw new RequestError(ErrorCode.internal, "Cannot compare the login secret");
    return answer.matches;
  }

  get queued(): number {
    return this.#proven.length + this.#strangers.length;
  }

  /** Ends the Workers; whoever waits is told that this server is going away. */
  close(): void {
    this.#closed = true;
    for (const seat of this.#seats) {
      seat.worker?.terminate();
      seat.worker = undefined;
      seat.job?.reject(new RequestError(ErrorCode.unavailable, "This server is stopping"));
      seat.job = undefined;
    }
    for (const job of [...this.#proven.splice(0), ...this.#strangers.splice(0)]) {
      job.reject(new RequestError(ErrorCode.unavailable, "This server is stopping"));
    }
    this.#waiting.clear();
  }

  #perform(task: PasswordJob, asker: PasswordAsker): Promise<PasswordAnswer> {
    if (this.#closed) throw new RequestError(ErrorCode.unavailable, "This server is stopping");
    this.#refuseIfFull(asker);
    return new Promise((resolve, reject) => {
      const lane = asker.proven ? this.#proven : this.#strangers;
      lane.push({ task, asker, resolve, reject, deaths: 0 });
      if (!asker.proven) this.#waiting.set(asker.address, (this.#waiting.get(asker.address) ?? 0) + 1);
      this.#assign();
    });
  }

  #refuseIfFull({ address, proven }: PasswordAsker): void {
    const { queuedMax, queuedPerAddressMax, size } = this.#options;
    const lane = proven ? this.#proven : this.#strangers;
    if (lane.length < queuedMax && (proven || (this.#waiting.get(address) ?? 0) < queuedPerAddressMax)) return;
    this.refused++;
    const waitMs = Math.ceil(Math.max(RETRY_MS_MIN, (this.queued * this.#averageMs) / size));
    throw new RequestError(ErrorCode.busy, "Too many people are logging in: wait a moment", waitMs);
  }

  #assign(): void {
    for (const seat of this.#seats) {
      if (seat.job !== undefined) continue;
      const job = this.#proven.shift() ?? this.#takeStranger();
      if (job === undefined) return;
      this.#run(seat, job);
    }
  }

  #takeStranger(): Job | undefined {
    const job = this.#strangers.shift();
    if (job === undefined) return undefined;
    const left = (this.#waiting.get(job.asker.address) ?? 1) - 1;
    if (left > 0) this.#waiting.set(job.asker.address, left);
    else this.#waiting.delete(job.asker.address);
    return job;
  }

  #run(seat: Seat, job: Job): void {
    seat.job = job;
    try {
      seat.worker ??= this.#start(seat);
      job.startedMs = performance.now();
      seat.worker.postMessage(job.task);
    } catch (error) {
      this.#died(seat, (error as Error).message);
    }
  }

  #start(seat: Seat): Worker {
    const worker = this.#options.startWorker();
    worker.onmessage = (event: MessageEvent<PasswordAnswer>) => {
      if (seat.worker === worker) this.#done(seat, event.data);
    };
    worker.onerror = (event) => {
      // Otherwise an error in a Worker ends the whole program.
      event.preventDefault();
      if (seat.worker === worker) this.#died(seat, event.message);
    };
    return worker;
  }

  #done(seat: Seat, answer: PasswordAnswer): void {
    const job = seat.job;
    seat.job = undefined;
    if (job !== undefined) {
      this.runs++;
      const tookMs = performance.now() - (job.startedMs ?? performance.now());
      this.#averageMs += (tookMs - this.#averageMs) / 8;
      if ("error" in answer) this.#options.logger.log("error", "password-job-failed", { reason: answer.error });
      job.resolve(answer);
    }
    this.#assign();
  }

  /** The next one may be luckier; a job that ends two Workers is refused, so that it cannot end them for ever. */
  #died(seat: Seat, reason: string): void {
    const job = seat.job;
    seat.worker?.terminate();
    seat.worker = undefined;
    seat.job = undefined;
    this.#options.logger.log("error", "password-worker-died", { reason });
    if (job !== undefined) {
      if (++job.deaths < DEATHS_MAX) return this.#run(seat, job);
      job.reject(new RequestError(ErrorCode.internal, "Cannot check a password now"));
    }
    this.#assign();
  }
}

/**
 * A hash that no secret has, for names that nobody has: comparing takes as long as with a real one (SECURITY P3).
 *
 * @param cost As the pool's.
 */
export function dummyHash(cost: number = BCRYPT_COST): string {
  return `$2b$${String(cost).padStart(2, "0")}$${"fastchat.nobody.has.it".padEnd(22, ".")}${".".repeat(31)}`;
}

export const BCRYPT_COST = 10;

interface Seat {
  worker: Worker | undefined;
  job: Job | undefined;
}

interface Job {
  readonly task: PasswordJob;
  readonly asker: PasswordAsker;
  readonly resolve: (answer: PasswordAnswer) => void;
  readonly reject: (error: RequestError) => void;
  startedMs?: number;
  deaths: number;
}

function startWorker(): Worker {
  return new Worker(new URL("./password_worker.ts", import.meta.url), { type: "module", name: "password" });
}

const LOGIN_SECRET = /^[A-Za-z0-9_-]{43}$/;
const QUEUED_MAX = 512;
const QUEUED_PER_ADDRESS_MAX = 256;
const JOB_MS_GUESS = 80;
const RETRY_MS_MIN = 100;
const DEATHS_MAX = 2;
