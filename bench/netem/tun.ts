/**
 * A TUN device: whatever the kernel routes to it is read here as IP packets, and what is written here arrives at the kernel.
 * Linux, root. Deno has no ioctl, so libc is called; every call is synchronous, which suits a process that does nothing else.
 */

export class Tun {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(PACKET_BYTES_MAX);
  /** Two `struct pollfd`, of the device and of standard input, and a `struct timespec`. */
  readonly #polled = new DataView(new ArrayBuffer(16));
  readonly #timeout = new BigInt64Array(2);

  /** Makes the device in the network namespace of this process; it goes with the process. @throws Error */
  constructor(name: string) {
    this.#fd = libc.open(text("/dev/net/tun"), O_RDWR | O_NONBLOCK);
    if (this.#fd < 0) throw new Error("Cannot open /dev/net/tun: needs root and the kernel's tun module");
    // struct ifreq: 16 bytes of name, then flags.
    const request = new Uint8Array(40);
    request.set(new TextEncoder().encode(name));
    new DataView(request.buffer).setUint16(16, IFF_TUN | IFF_NO_PI, true);
    if (libc.ioctl(this.#fd, TUNSETIFF, request) < 0) throw new Error(`Cannot make the TUN device ${name}: needs root`);
    this.#polled.setInt32(0, this.#fd, true);
    this.#polled.setInt32(8, STDIN, true);
  }

  /** Waits for a packet or for a line on standard input. @returns Which of them there is. */
  wait(timeoutMs: number): { packet: boolean; input: boolean } {
    const timeoutUs = Math.max(0, Math.floor(timeoutMs * 1000));
    this.#timeout[0] = BigInt(Math.floor(timeoutUs / 1_000_000));
    this.#timeout[1] = BigInt(timeoutUs % 1_000_000 * 1000);
    this.#polled.setInt16(4, POLLIN, true);
    this.#polled.setInt16(12, POLLIN, true);
    const ready = libc.ppoll(new Uint8Array(this.#polled.buffer), 2n, this.#timeout, null);
    if (ready <= 0) return { packet: false, input: false };
    return { packet: this.#polled.getInt16(6, true) !== 0, input: this.#polled.getInt16(14, true) !== 0 };
  }

  /** @returns The next packet, or `undefined` where none waits. Borrowed until the next call. */
  read(): Uint8Array | undefined {
    const bytes = Number(libc.read(this.#fd, this.#buffer, BigInt(PACKET_BYTES_MAX)));
    return bytes > 0 ? this.#buffer.subarray(0, bytes) : undefined;
  }

  /** @returns Whether the kernel took it. */
  write(packet: Uint8Array<ArrayBuffer>): boolean {
    return Number(libc.write(this.#fd, packet, BigInt(packet.length))) === packet.length;
  }
}

function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(value + "\0");
}

const libc = Deno.dlopen("libc.so.6", {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  ppoll: { parameters: ["buffer", "u64", "buffer", "buffer"], result: "i32" },
}).symbols;

// <asm-generic/fcntl.h>, <linux/if_tun.h>, <poll.h>; the same on x86-64 and ARM.
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const TUNSETIFF = 0x400454can;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const POLLIN = 1;
const STDIN = 0;
const PACKET_BYTES_MAX = 65_536;
