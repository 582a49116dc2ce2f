/**
 * Faults that the simulator has to find, planted from outside: into what the product is handed (randomness, primitives,
 * clock, controller, network adapter), or round a method of one of its parts, in this process and for one run.
 */
import { ReceiveCredit } from "../../shared/transport/flow_control.ts";
import { Assembler } from "../../shared/transport/assembler.ts";
import { NewReno } from "../../shared/transport/mod.ts";
import { type Address, Path } from "../../shared/transport/path.ts";
import { ReceivedPackets } from "../../shared/transport/received_packets.ts";
import { RecvStream } from "../../shared/transport/recv_stream.ts";
import { ReplayWindow } from "../../shared/transport/replay_window.ts";
import { RsaGate } from "../../shared/transport/rsa_gate.ts";
import { SendStream } from "../../shared/transport/send_stream.ts";
import { type SentPacket, SentPackets } from "../../shared/transport/sent_packets.ts";
import { Timer, Timers } from "../../shared/transport/timers.ts";
import { runSeed } from "./run_seed.ts";
import type { Hooks } from "./world.ts";

export interface Fault {
  readonly name: string;
  /** One line. */
  readonly about: string;
  /** Made anew for every seed. */
  hooks?(): Hooks;
  /** Wraps methods; what it returns takes the wrapping off again. */
  install?(): () => void;
}

export interface Found {
  readonly seed: number;
  readonly message: string;
}

/** Runs seeds with the fault in place. @returns The first that fails. */
export function findFault(
  fault: Fault,
  options: { first: number; count: number; trace?: ((line: string) => void) | undefined },
): Found | undefined {
  const remove = fault.install?.();
  try {
    for (let seed = options.first; seed < options.first + options.count; seed++) {
      try {
        runSeed(seed, { hooks: fault.hooks?.(), trace: options.trace });
      } catch (error) {
        return { seed, message: (error as Error).message };
      }
    }
    return undefined;
  } finally {
    remove?.();
  }
}

export const FAULTS: readonly Fault[] = [
  {
    name: "stuck-controller",
    about: "a congestion controller whose window stays shut after its first loss",
    hooks: () => ({ controller: () => new StuckController() }),
  },
  {
    name: "forgetful-ledger",
    about: "the ledger of sent packets forgets every fiftieth, which is then never missed",
    install: () => {
      let count = 0;
      return wrap(SentPackets.prototype, "add", (add) =>
        function (this: SentPackets, packet: SentPacket, ...rest) {
          if (++count % 50 === 0) this.release(packet);
          else add.call(this, packet, ...rest);
        });
    },
  },
  {
    name: "clock-runs-back",
    about: "a server's clock jumps an hour back, once",
    hooks: () => {
      let jumped = false;
      return {
        tamper({ nowUs, servers }) {
          if (jumped || nowUs < 2e6) return;
          jumped = true;
          servers[0]!.clockOffsetUs -= 3600e6;
        },
      };
    },
  },
  {
    name: "forgetful-replay-window",
    about: "the replay window takes every packet for a new one",
    install: () => wrap(ReplayWindow.prototype, "has", () => () => false),
  },
  {
    name: "optimistic-acks",
    about: "acknowledgements skip over holes: what is one before a packet that came counts as come",
    install: () =>
      wrap(
        ReceivedPackets.prototype,
        "add",
        (add) =>
          function (this: ReceivedPackets, packetNumber, ackEliciting, nowUs) {
            if (packetNumber > this.largest + 1) add.call(this, packetNumber - 1, ackEliciting, nowUs);
            add.call(this, packetNumber, ackEliciting, nowUs);
          },
      ),
  },
  {
    name: "nonce-pairs",
    about: "primitives that give two neighbouring packets the same nonce",
    hooks: () => ({
      primitives: (primitives) => ({
        ...primitives,
        packetKey(key, iv) {
          const inner = primitives.packetKey(key, iv);
          return {
            seal: (packet, header, payload, number) => inner.seal(packet, header, payload, number - number % 2),
            open: (packet, header, bytes, number) => inner.open(packet, header, bytes, number - number % 2),
          };
        },
      }),
    }),
  },
  {
    name: "one-secret",
    about: "primitives that derive the same secret for both directions",
    hooks: () => ({
      primitives: (primitives) => ({
        ...primitives,
        hkdfExpand: (key, label, length) =>
          primitives.hkdfExpand(key, label === "fastchat/1 server" ? "fastchat/1 client" : label, length),
      }),
    }),
  },
  {
    name: "repeating-random",
    about: "a random source that gives every eighth draw what it gave the draw before",
    hooks: () => ({
      random(random) {
        let count = 0, last = random.bytes(32);
        return {
          bytes(length) {
            if (++count % 8 !== 0) last = random.bytes(Math.max(length, 32));
            return last.slice(0, length);
          },
        };
      },
    }),
  },
  {
    name: "shared-address",
    about: "a network adapter that hands out one address object for every sender, and changes it",
    hooks: () => {
      const shared = { host: "", port: 0 };
      return { from: (from: Address) => Object.assign(shared, from) };
    },
  },
  {
    name: "generous-credit",
    about: "flow control that grants twice the window and takes what comes",
    install: () => {
      const extra = 100_000;
      const granted = wrap(ReceiveCredit.prototype, "grant", (grant) =>
        function (this: ReceiveCredit) {
          return grant.call(this) + extra;
        });
      const received = wrap(ReceiveCredit.prototype, "receive", () => () => {});
      return () => {
        granted();
        received();
      };
    },
  },
  {
    name: "repeating-assembler",
    about: "the assembler gives the reader every hundredth chunk twice",
    install: () => {
      let count = 0;
      const again = new WeakMap<Assembler, Uint8Array>();
      return wrap(Assembler.prototype, "read", (read) =>
        function (this: Assembler) {
          const repeated = again.get(this);
          if (repeated !== undefined) {
            again.delete(this);
            return repeated;
          }
          const chunk = read.call(this);
          if (chunk !== undefined && ++count % 100 === 0) again.set(this, chunk.slice());
          return chunk;
        });
    },
  },
  {
    name: "trusting-path",
    about: "a server sends to wherever the newest packet came from, unproven",
    install: () => {
      const newest = new WeakMap<Path, Address>();
      const follows = wrap(
        Path.prototype,
        "onElsewhere",
        (onElsewhere) =>
          function (this: Path, from, bytes, isNewest) {
            if (isNewest) newest.set(this, from);
            return onElsewhere.call(this, from, bytes, isNewest);
          },
      );
      const getter = Object.getOwnPropertyDescriptor(Path.prototype, "peer")!;
      Object.defineProperty(Path.prototype, "peer", {
        ...getter,
        get(this: Path) {
          return newest.get(this) ?? getter.get!.call(this);
        },
      });
      return () => {
        follows();
        Object.defineProperty(Path.prototype, "peer", getter);
      };
    },
  },
  {
    name: "lost-timer",
    about: "the table of timers forgets a loss timer every now and then, and all later ones of that connection",
    install: () => {
      let count = 0;
      const broken = new WeakSet<Timers>();
      return wrap(Timers.prototype, "set", (set) =>
        function (this: Timers, timer, deadlineUs) {
          if (timer === Timer.Loss && ++count % 50 === 0) broken.add(this);
          set.call(this, timer, timer === Timer.Loss && broken.has(this) ? Infinity : deadlineUs);
        });
    },
  },
  {
    name: "lost-is-delivered",
    about: "the sending half of a stream takes every twentieth loss for an acknowledgement",
    install: () => {
      let count = 0;
      return wrap(SendStream.prototype, "onLost", (onLost) =>
        function (this: SendStream, offset, end, fin) {
          if (++count % 20 === 0) this.onAcked(offset, end, fin);
          else onLost.call(this, offset, end, fin);
        });
    },
  },
  {
    name: "early-end",
    about: "a stream counts as read to its end as soon as its last byte is known",
    install: () => {
      const getter = Object.getOwnPropertyDescriptor(RecvStream.prototype, "isDone")!;
      Object.defineProperty(RecvStream.prototype, "isDone", {
        ...getter,
        get(this: RecvStream) {
          return !this.isOpen;
        },
      });
      return () => void Object.defineProperty(RecvStream.prototype, "isDone", getter);
    },
  },
  {
    name: "open-gate",
    about: "the gate in front of RSA lets everything in at once",
    install: () => {
      const waiting = new WeakMap<object, unknown[]>();
      const queued = wrap(RsaGate.prototype, "queue", () =>
        function (this: RsaGate<unknown>, job) {
          const jobs = waiting.get(this) ?? [];
          waiting.set(this, [...jobs, job]);
          return undefined;
        });
      const begun = wrap(RsaGate.prototype, "begin", () =>
        function (this: RsaGate<unknown>) {
          return waiting.get(this)?.shift();
        });
      return () => {
        queued();
        begun();
      };
    },
  },
];

/** Replaces a method by what is made of it. */
function wrap<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  make: (original: Method<T, K>) => Method<T, K>,
): () => void {
  const original = prototype[name];
  prototype[name] = make(original as Method<T, K>) as T[K];
  return () => void (prototype[name] = original);
}

// deno-lint-ignore no-explicit-any
type Method<T, K extends keyof T> = T[K] extends (...args: infer A) => infer R ? (this: T, ...args: A) => R : any;

class StuckController extends NewReno {
  #isShut = false;

  override get windowBytes(): number {
    return this.#isShut ? 0 : super.windowBytes;
  }

  override onLost(newestSentUs: number, nowUs: number): void {
    super.onLost(newestSentUs, nowUs);
    this.#isShut = true;
  }
}
