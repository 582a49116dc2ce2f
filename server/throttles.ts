/** The limits on accounts (SECURITY P7), put together: what they are called, by what they are counted, what they default to. */
import { ErrorCode, RequestError } from "../shared/errors.ts";
import { Lockouts, TokenBuckets } from "./rate_limiter.ts";

export interface ThrottleSettings {
  /** Sign-ups per second and address. */
  readonly signUpRate: number;
  /** Log-ins per second and address. */
  readonly logInRate: number;
  /** Sign-ups or log-ins that one address may make at once. */
  readonly burst: number;
  /** Wrong passwords per (address, account) that cost nothing; from then on the wait doubles from a second. */
  readonly wrongPasswordsFree: number;
  /** The same per account, whatever the address: softly, a wait of at most ten seconds. */
  readonly wrongPasswordsFreePerAccount: number;
}

export const THROTTLE_DEFAULTS: ThrottleSettings = {
  signUpRate: 20,
  logInRate: 50,
  burst: 300,
  wrongPasswordsFree: 5,
  wrongPasswordsFreePerAccount: 100,
};

/** Who tries to log in. */
export interface LogInAttempt {
  /** From `addressKey`. */
  readonly address: string;
  /** As it was asked for; need not exist. */
  readonly name: string;
  /** The enrolled device that has proved itself by its signature (P6), if one has. */
  readonly provenDevice: string | undefined;
}

export class Throttles {
  readonly #questions: TokenBuckets;
  readonly #signUps: TokenBuckets;
  readonly #logIns: TokenBuckets;
  readonly #provenLogIns: TokenBuckets;
  readonly #byAddressAndAccount: Lockouts;
  readonly #byAccount: Lockouts;
  readonly #byDevice: Lockouts;
  readonly #groupsMade: TokenBuckets;
  readonly #askedByLink: TokenBuckets;

  constructor(settings: ThrottleSettings) {
    const { signUpRate, logInRate, burst } = settings;
    const off = signUpRate <= 0 || logInRate <= 0;
    // Every sign-up and log-in asks how to stretch first, and each look-up is cheap: ten times what may be tried.
    this.#questions = new TokenBuckets({ ratePerSecond: off ? 0 : 10 * (signUpRate + logInRate), burst: 10 * burst });
    this.#signUps = new TokenBuckets({ ratePerSecond: signUpRate, burst });
    this.#logIns = new TokenBuckets({ ratePerSecond: logInRate, burst });
    this.#provenLogIns = new TokenBuckets({ ratePerSecond: logInRate <= 0 ? 0 : 2, burst: 20 });
    this.#groupsMade = new TokenBuckets({ ratePerSecond: off ? 0 : 100 / HOUR_S, burst: 200 });
    this.#askedByLink = new TokenBuckets({ ratePerSecond: off ? 0 : 60 / HOUR_S, burst: 20 });
    const hard = {
      triesFree: settings.wrongPasswordsFree,
      delayMsFirst: 1000,
      delayMsMax: 15 * 60_000,
      forgetMs: HOUR_MS,
    };
    this.#byAddressAndAccount = new Lockouts(hard);
    this.#byDevice = new Lockouts(hard);
    this.#byAccount = new Lockouts({
      triesFree: settings.wrongPasswordsFreePerAccount,
      delayMsFirst: 1000,
      delayMsMax: 10_000,
      forgetMs: HOUR_MS,
    });
  }

  /** Anything that looks into the accounts before somebody is known. @throws RequestError busy */
  question(address: string, nowUs: number): void {
    refuseIf(this.#questions.take(address, nowUs));
  }

  /** @throws RequestError busy */
  signUp(address: string, nowUs: number): void {
    refuseIf(this.#signUps.take(address, nowUs));
  }

  /**
   * Takes a try. A device that has proved itself is counted by itself alone, so that nobody else's failures, from
   * wherever they come, can lock it out.
   *
   * @throws RequestError busy
   */
  logIn(attempt: LogInAttempt, nowUs: number): void {
    const { address, name, provenDevice } = attempt;
    if (provenDevice !== undefined) {
      refuseIf(this.#provenLogIns.take(provenDevice, nowUs));
      refuseIf(this.#byDevice.take(provenDevice, nowUs));
      return;
    }
    refuseIf(this.#logIns.take(address, nowUs));
    refuseIf(this.#byAddressAndAccount.take(pair(address, name), nowUs));
    const wait = this.#byAccount.take(name, nowUs);
    if (wait > 0) this.#byAddressAndAccount.forgive(pair(address, name), nowUs);
    refuseIf(wait);
  }

  /** Makes a group. @throws RequestError busy */
  groupMade(user: string, nowUs: number): void {
    refuseIf(this.#groupsMade.take(user, nowUs));
  }

  /** Asks strangers to be let in. @throws RequestError busy */
  askedByLink(user: string, nowUs: number): void {
    refuseIf(this.#askedByLink.take(user, nowUs));
  }

  /** The password was right. */
  clear(attempt: LogInAttempt): void {
    if (attempt.provenDevice !== undefined) return this.#byDevice.clear(attempt.provenDevice);
    this.#byAddressAndAccount.clear(pair(attempt.address, attempt.name));
    this.#byAccount.clear(attempt.name);
  }

  /** The password was never looked at. */
  forgive(attempt: LogInAttempt, nowUs: number): void {
    if (attempt.provenDevice !== undefined) return this.#byDevice.forgive(attempt.provenDevice, nowUs);
    this.#byAddressAndAccount.forgive(pair(attempt.address, attempt.name), nowUs);
    this.#byAccount.forgive(attempt.name, nowUs);
  }
}

/** Addresses hold no space, so this is unambiguous. */
function pair(address: string, name: string): string {
  return `${address} ${name}`;
}

function refuseIf(waitMs: number): void {
  if (waitMs > 0) throw new RequestError(ErrorCode.busy, "Too many tries: wait a moment", waitMs);
}

const HOUR_MS = 3_600_000;
const HOUR_S = 3600;
