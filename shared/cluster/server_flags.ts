/**
 * The options of a server that a balancer hands on to every server it starts, as they are, with what each may be:
 * `fastchat-server --help` explains them. The balancer judges them before anything is started, the server when it reads them.
 */
import { choiceFlag, type FlagValues, numberFlag } from "../host/mod.ts";
import { DATAGRAM_BYTES, DATAGRAM_BYTES_MAX } from "../limits.ts";

const RATE_MAX = 1_000_000;
const QUEUE_MAX = 100_000;

function whole<const Min extends number, const Max extends number>(min: Min, max: Max) {
  return { type: "string", min, max } as const;
}

/** The first one is what counts where none is given. */
function choice<const Choices extends readonly [string, ...string[]]>(...choices: Choices) {
  return { type: "string", choices } as const;
}

export const SERVER_FLAGS = {
  "registration": choice("open", "closed"),
  "session-days": whole(1, 3650),
  "retention-days": whole(0, 36_500),
  "retention-mib": whole(0, 100_000_000),
  "archive-mib": whole(0, 1_000_000),
  "signup-rate": whole(0, RATE_MAX),
  "login-rate": whole(0, RATE_MAX),
  "login-burst": whole(1, RATE_MAX),
  "wrong-passwords": whole(1, RATE_MAX),
  "wrong-passwords-account": whole(1, RATE_MAX),
  "request-rate": whole(0, RATE_MAX),
  "message-rate": whole(0, RATE_MAX),
  "handshake-rate": whole(1, RATE_MAX),
  "handshake-burst": whole(1, RATE_MAX),
  "handshake-rate-total": whole(1, RATE_MAX),
  "handshake-parallel": whole(1, 64),
  "handshake-queue": whole(1, QUEUE_MAX),
  "connections": whole(1, 2 ** 24),
  "datagram-bytes": whole(DATAGRAM_BYTES, DATAGRAM_BYTES_MAX),
  "password-workers": whole(1, 64),
  "password-queue": whole(1, QUEUE_MAX),
  "password-queue-address": whole(1, QUEUE_MAX),
  "log-level": choice("info", "debug", "warn", "error"),
} as const;

type Flags = typeof SERVER_FLAGS;
type NumberName = { [K in keyof Flags]: Flags[K] extends { min: number } ? K : never }[keyof Flags];
type ChoiceName = Exclude<keyof Flags, NumberName>;

/** What was given of a number, or `preset`. @throws UsageError */
export function serverNumber(values: FlagValues, name: NumberName, preset: number): number {
  const { min, max } = SERVER_FLAGS[name];
  return numberFlag(values, name, preset, min, max);
}

/** What was chosen, or the first choice. @throws UsageError */
export function serverChoice<Name extends ChoiceName>(values: FlagValues, name: Name): Flags[Name]["choices"][number] {
  return choiceFlag<string>(values, name, SERVER_FLAGS[name].choices) as Flags[Name]["choices"][number];
}

/** @throws UsageError for a value that no server would take. */
export function checkServerFlags(values: FlagValues): void {
  for (const [name, flag] of Object.entries(SERVER_FLAGS)) {
    if ("choices" in flag) choiceFlag<string>(values, name, flag.choices);
    else numberFlag(values, name, flag.min, flag.min, flag.max);
  }
}
