/** The command line, parsed once into a typed value. Every mistake is answered with what was wanted. */
import { resolve } from "node:path";
import { SERVER_FLAGS, serverChoice, serverNumber } from "../shared/cluster/mod.ts";
import { hostFlag, numberFlag, parseFlags, textFlag, UsageError } from "../shared/host/mod.ts";
import {
  ARCHIVE_MIB,
  CONNECTIONS_MAX,
  DATAGRAM_BYTES,
  DATAGRAM_BYTES_MAX,
  SCRYPT_LOG2_N_MIN,
  SERVERS_MAX,
  SESSION_DAYS,
} from "../shared/limits.ts";
import type { LogLevel } from "../shared/log.ts";
import { DEFAULT_RSA_LIMITS as RSA } from "../shared/net/mod.ts";
import type { RetentionSettings } from "./store/retention.ts";
import { THROTTLE_DEFAULTS, type ThrottleSettings } from "./throttles.ts";

export type Command =
  | { readonly type: "run"; readonly config: ServerConfig }
  | { readonly type: "help" }
  | { readonly type: "version" };

export interface ServerConfig {
  /** Absolute. */
  readonly dataDir: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** `undefined` takes the first free one. */
  readonly number: number | undefined;
  /** What clients are told to connect to, or "" for the host that they reached. */
  readonly advertise: string;
  readonly registration: "open" | "closed";
  /** Start, then stop at once: everything is there that it needs. */
  readonly smoke: boolean;
  readonly throttles: ThrottleSettings;
  /** Per connection and second; 0 means no limit. */
  readonly requestRate: number;
  readonly appendRate: number;
  /** Who gets an RSA decryption (SECURITY H7). */
  readonly rsa: RsaSettings;
  readonly passwordWorkers: number;
  readonly passwordQueue: number;
  readonly passwordQueuePerAddress: number;
  readonly connectionsMax: number;
  /** The largest datagram that is sent (SECURITY H10). */
  readonly datagramBytes: number;
  readonly sessionDays: number;
  readonly retention: RetentionSettings;
  /** What one user's archive of history may take, in MiB; 0 keeps none. */
  readonly archiveMebibytes: number;
  readonly logLevel: LogLevel;
  /** log2 of scrypt's N: proposed to clients, and the least accepted. */
  readonly scryptLog2N: number;
}

export interface RsaSettings {
  /** Per second and address, and how many at once. */
  readonly rate: number;
  readonly burst: number;
  /** Per second in all. */
  readonly rateTotal: number;
  readonly inFlightMax: number;
  readonly queuedMax: number;
}

/**
 * @param env Reads one variable of the environment.
 * @throws UsageError
 */
export function parseCommand(
  args: readonly string[],
  env: (name: string) => string | undefined = () => undefined,
): Command {
  const { values, positionals } = parseFlags(args, OPTIONS);
  if (values["help"]) return { type: "help" };
  if (values["version"]) return { type: "version" };
  if (positionals.length > 0) {
    throw new UsageError(`'${positionals[0]}' is one word too many: all settings are options`);
  }
  const data = textFlag(values, "data");
  if (!data) throw new UsageError("Say where keys and messages are: --data DIR");
  const number = numberFlag(values, "number", NaN, 0, SERVERS_MAX - 1);
  const config: ServerConfig = {
    dataDir: resolve(data),
    host: hostFlag(values, "host") ?? "0.0.0.0",
    port: numberFlag(values, "port", 0, 0, 65_535),
    number: Number.isNaN(number) ? undefined : number,
    advertise: hostFlag(values, "advertise") ?? "",
    registration: serverChoice(values, "registration"),
    smoke: values["smoke"] === true,
    throttles: {
      signUpRate: serverNumber(values, "signup-rate", THROTTLE_DEFAULTS.signUpRate),
      logInRate: serverNumber(values, "login-rate", THROTTLE_DEFAULTS.logInRate),
      burst: serverNumber(values, "login-burst", THROTTLE_DEFAULTS.burst),
      wrongPasswordsFree: serverNumber(values, "wrong-passwords", THROTTLE_DEFAULTS.wrongPasswordsFree),
      wrongPasswordsFreePerAccount: serverNumber(
        values,
        "wrong-passwords-account",
        THROTTLE_DEFAULTS.wrongPasswordsFreePerAccount,
      ),
    },
    requestRate: serverNumber(values, "request-rate", 500),
    appendRate: serverNumber(values, "message-rate", 0),
    rsa: {
      rate: serverNumber(values, "handshake-rate", RSA.perAddress.perSecond),
      burst: serverNumber(values, "handshake-burst", RSA.perAddress.burst),
      rateTotal: serverNumber(values, "handshake-rate-total", RSA.ceiling.perSecond),
      inFlightMax: serverNumber(values, "handshake-parallel", RSA.inFlightMax),
      queuedMax: serverNumber(values, "handshake-queue", RSA.queuedMax),
    },
    passwordWorkers: serverNumber(values, "password-workers", 2),
    passwordQueue: serverNumber(values, "password-queue", 512),
    passwordQueuePerAddress: serverNumber(values, "password-queue-address", 256),
    connectionsMax: serverNumber(values, "connections", CONNECTIONS_MAX),
    datagramBytes: serverNumber(values, "datagram-bytes", DATAGRAM_BYTES),
    sessionDays: serverNumber(values, "session-days", SESSION_DAYS),
    retention: {
      days: serverNumber(values, "retention-days", 0),
      mebibytes: serverNumber(values, "retention-mib", 0),
    },
    archiveMebibytes: serverNumber(values, "archive-mib", ARCHIVE_MIB),
    logLevel: serverChoice(values, "log-level"),
    scryptLog2N: scryptLog2N(env(SCRYPT_TEST_SETTING)),
  };
  return { type: "run", config };
}

/** Tests cannot spend half a second and 128 MiB on every password. Nobody else may go below the floor (SECURITY P1). */
function scryptLog2N(setting: string | undefined): number {
  if (setting === undefined || setting === "") return SCRYPT_LOG2_N_MIN;
  const value = /^\d{1,2}$/.test(setting) ? Number(setting) : NaN;
  if (!(value >= 1 && value <= 22)) throw new UsageError(`${SCRYPT_TEST_SETTING} takes a number from 1 to 22`);
  return value;
}

const SCRYPT_TEST_SETTING = "FASTCHAT_TEST_ONLY_SCRYPT_LOG2N";

const OPTIONS = {
  "data": { type: "string" },
  "port": { type: "string" },
  "host": { type: "string" },
  "number": { type: "string" },
  "advertise": { type: "string" },
  "smoke": { type: "boolean" },
  ...SERVER_FLAGS,
  "help": { type: "boolean", short: "h" },
  "version": { type: "boolean", short: "V" },
} as const;

export const HELP = `FastChat's server holds conversations with clients over UDP. Normally a balancer starts it:

  fastchat-balancer 4 9000

By hand:

  fastchat-server --data DIR --port 9001

Servers on one DIR are one cluster: same keys, same users, same messages. One of them owns the database and serves the
others; when it ends, another one takes over.

Where
  --data DIR         keys, messages, logs; made where it is not there
  --port P           UDP port (default 0: a free one)
  --host H           address to listen on (default 0.0.0.0, every IPv4 address; :: adds IPv6)
  --number N         this server's number in its cluster, 0..127 (default: the first free one)
  --advertise H      host that clients are told to use, where it is not the one they reach

Who may what
  --registration R   who may sign up: open (default) or closed
  --session-days N   how long a log-in lasts (default ${SESSION_DAYS})

How long messages are kept
  --retention-days N   messages older than N days are removed (default 0 = kept for ever)
  --retention-mib N    the oldest are removed while the database takes more than N MiB (default 0 = any size)
                       Whatever either says: not what is younger than a day

Archives of history, which people switch on for themselves; only their recovery keys open them
  --archive-mib N      what one user's may take, in MiB (default ${ARCHIVE_MIB}, 0 = no archives). How long messages are kept
                       does not touch them

Limits (0 = none, where it says so)
  --signup-rate N    sign-ups a second from one address (default ${THROTTLE_DEFAULTS.signUpRate}, 0 = none)
  --login-rate N     log-ins a second from one address (default ${THROTTLE_DEFAULTS.logInRate}, 0 = none)
  --login-burst N    either of them at once (default ${THROTTLE_DEFAULTS.burst})
  --wrong-passwords N           wrong passwords for one account from one address before waiting begins; the wait doubles
                                from a second (default ${THROTTLE_DEFAULTS.wrongPasswordsFree}). Devices that have logged in before are exempt
  --wrong-passwords-account N   the same from all addresses; the wait stays within 10 s (default ${THROTTLE_DEFAULTS.wrongPasswordsFreePerAccount})
  --request-rate N   requests a second on one connection (default 500, 0 = none)
  --message-rate N   messages a second on one connection (default 0 = none)
  --handshake-rate N            new connections a second from one address (default ${RSA.perAddress.perSecond})
  --handshake-burst N           ... and at once (default ${RSA.perAddress.burst})
  --handshake-rate-total N      new connections a second in all (default ${RSA.ceiling.perSecond})
  --handshake-parallel N        how many of them are worked on at once (default ${RSA.inFlightMax})
  --handshake-queue N           ... and wait; the oldest gives way (default ${RSA.queuedMax})
  --connections N    clients at once (default ${CONNECTIONS_MAX})
  --datagram-bytes N            largest UDP payload to send (default ${DATAGRAM_BYTES}, which every path carries; up to ${DATAGRAM_BYTES_MAX}
                                where all clients' paths are known to carry it)
  --password-workers N          threads that check passwords (default 2)
  --password-queue N            log-ins that wait for them in all (default 512)
  --password-queue-address N    ... from one address (default 256)

Else
  --smoke            start, stop and exit 0: it loads, binds and opens its store
  --log-level L      debug, info (default), warn or error
  -h, --help         this text
  -V, --version      the version

Once it answers it prints one line:   ready HOST:PORT number=N
Logs are in DIR/log/server-N.log. Ctrl-C or SIGTERM sends clients to other servers and stops.

Exit codes: 0 stopped as asked, 1 failed, 2 usage, 3 port, address or number not available, 4 data is damaged.
`;
