/**
 * ChaCha20-Poly1305 for packets, on offsets of libsodium's own WebAssembly heap: 200 bytes in under a microsecond.
 *
 * A packet that lies in a {@linkcode PacketHeap.buffer} is sealed and opened where it is; any other is copied in and out.
 * Everything the heap will ever hold is allocated at the start: a heap that grows moves, and every view into it dies.
 */
import factory from "libsodium";
import { assert } from "../assert.ts";
import { keptWords } from "../kept.ts";
import type { PacketKey } from "../primitives.ts";

/** The heap that all packet keys of the process share. */
export class PacketHeap {
  readonly #sodium: Sodium;
  readonly #arena: number;
  #arenaUsed = 0;
  /** Offsets of the key and nonce in use, and of a packet that lies outside the heap. */
  readonly keyAt: number;
  readonly nonceAt: number;
  readonly scratchAt: number;
  /** Views of the same memory; replaced should it ever move. */
  bytes: Uint8Array;
  words: Uint32Array;
  memory: ArrayBufferLike;
  /** Whose key lies at `keyAt`. */
  loaded: PacketKey | undefined;

  private constructor(sodium: Sodium) {
    this.#sodium = sodium;
    this.#arena = sodium._malloc(ARENA_BYTES);
    this.scratchAt = sodium._malloc(SCRATCH_BYTES);
    this.keyAt = align(sodium._malloc(64));
    this.nonceAt = align(sodium._malloc(32));
    this.bytes = sodium.HEAPU8;
    this.memory = this.bytes.buffer;
    this.words = new Uint32Array(this.memory);
  }

  /** The heap of this process: made once, since nothing in it is ever freed. */
  static open(): Promise<PacketHeap> {
    return opened ??= (factory() as Promise<Sodium>).then((sodium) => new PacketHeap(sodium));
  }

  /**
   * Zeroed bytes in the heap. Once the arena is used up they lie outside it, where everything works but is copied.
   */
  buffer(bytes: number): Uint8Array {
    const at = this.#arenaUsed;
    const next = at + Math.ceil(bytes / 64) * 64;
    if (next > ARENA_BYTES) return new Uint8Array(bytes);
    this.#arenaUsed = next;
    this.#refresh();
    return new Uint8Array(this.memory, this.#arena + at, bytes).fill(0);
  }

  /** Where the packet's first `length` bytes lie in the heap; copies them to the scratch area if they do not yet. */
  enter(packet: Uint8Array, length: number): number {
    if (packet.buffer === this.memory) return packet.byteOffset;
    this.#refresh();
    assert(length <= SCRATCH_BYTES, `Packet is ${length} bytes, at most ${SCRATCH_BYTES}`);
    this.bytes.set(length === packet.length ? packet : packet.subarray(0, length), this.scratchAt);
    return this.scratchAt;
  }

  /** Copies `[from, to)` of the scratch area back into a packet outside the heap. */
  leave(packet: Uint8Array, at: number, from: number, to: number): void {
    if (packet.buffer !== this.memory) packet.set(this.bytes.subarray(at + from, at + to), from);
  }

  /** Seals `bytes` bytes at `at`, in place; the tag lands behind them. */
  encrypt(at: number, bytes: number, aadAt: number, aadBytes: number): void {
    this.#sodium._crypto_aead_chacha20poly1305_ietf_encrypt(
      at,
      0,
      at,
      bytes,
      0,
      aadAt,
      aadBytes,
      0,
      0,
      this.nonceAt,
      this.keyAt,
    );
  }

  /** Opens `bytes` bytes (tag included) at `at`, in place. */
  decrypt(at: number, bytes: number, aadAt: number, aadBytes: number): boolean {
    return this.#sodium._crypto_aead_chacha20poly1305_ietf_decrypt(
      at,
      0,
      0,
      at,
      bytes,
      0,
      aadAt,
      aadBytes,
      0,
      this.nonceAt,
      this.keyAt,
    ) === 0;
  }

  /** A grown heap has new memory behind the same offsets. Nothing here makes it grow; this costs one comparison. */
  #refresh(): void {
    const bytes = this.#sodium.HEAPU8;
    if (bytes === this.bytes) return;
    this.bytes = bytes;
    this.memory = bytes.buffer;
    this.words = new Uint32Array(this.memory);
    this.loaded = undefined;
  }
}

/** One direction's key. The nonce is the iv XOR the packet number, right-aligned, network order (docs/PROTOCOL.md §5). */
export class HeapPacketKey implements PacketKey {
  readonly #heap: PacketHeap;
  /** The key, and behind it the iv. */
  readonly #words = keptWords(KEY_WORDS + IV_WORDS);

  /** @param key 32 bytes, copied. @param iv 12 bytes, copied. */
  constructor(heap: PacketHeap, key: Uint8Array, iv: Uint8Array) {
    assert(key.length === 32, `Packet key is ${key.length} bytes, not 32`);
    assert(iv.length === 12, `Packet iv is ${iv.length} bytes, not 12`);
    this.#heap = heap;
    const words = this.#words, bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    bytes.set(key);
    bytes.set(iv, 4 * KEY_WORDS);
  }

  seal(packet: Uint8Array, headerBytes: number, payloadBytes: number, packetNumber: number): number {
    const heap = this.#heap, sealedBytes = headerBytes + payloadBytes + TAG_BYTES;
    assert(sealedBytes <= packet.length, `Packet needs ${sealedBytes} bytes, its buffer has ${packet.length}`);
    const at = heap.enter(packet, headerBytes + payloadBytes);
    this.#load(packetNumber);
    heap.encrypt(at + headerBytes, payloadBytes, at, headerBytes);
    heap.leave(packet, at, headerBytes, sealedBytes);
    return sealedBytes;
  }

  open(packet: Uint8Array, headerBytes: number, packetBytes: number, packetNumber: number): number {
    const heap = this.#heap, payloadBytes = packetBytes - headerBytes - TAG_BYTES;
    assert(packetBytes <= packet.length, `Packet of ${packetBytes} bytes lies in a buffer of ${packet.length}`);
    if (payloadBytes < 0) return -1;
    const at = heap.enter(packet, packetBytes);
    this.#load(packetNumber);
    if (!heap.decrypt(at + headerBytes, payloadBytes + TAG_BYTES, at, headerBytes)) return -1;
    heap.leave(packet, at, headerBytes, headerBytes + payloadBytes);
    return payloadBytes;
  }

  /** Puts key and nonce where libsodium reads them. WebAssembly and every platform Deno runs on are little-endian. */
  #load(packetNumber: number): void {
    const heap = this.#heap, words = heap.words, own = this.#words;
    if (heap.loaded !== this) {
      for (let i = 0, at = heap.keyAt >>> 2; i < KEY_WORDS; i++) words[at + i] = own[i]!;
      heap.loaded = this;
    }
    const nonce = heap.nonceAt >>> 2;
    words[nonce] = own[KEY_WORDS]!;
    words[nonce + 1] = own[KEY_WORDS + 1]! ^ swap(Math.floor(packetNumber / 2 ** 32));
    words[nonce + 2] = own[KEY_WORDS + 2]! ^ swap(packetNumber);
  }
}

/** The four bytes of a 32-bit value (of its lowest 32 bits) in opposite order. */
function swap(value: number): number {
  return (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}

function align(offset: number): number {
  return (offset + 15) & ~15;
}

/** What we use of libsodium's raw module. Lengths of 64 bits travel as two 32-bit halves. */
interface Sodium {
  /** Replaced when the heap grows. */
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _crypto_aead_chacha20poly1305_ietf_encrypt(...args: PointersAndLengths): number;
  _crypto_aead_chacha20poly1305_ietf_decrypt(...args: PointersAndLengths): number;
}
// deno-fmt-ignore
type PointersAndLengths = [number, number, number, number, number, number, number, number, number, number, number];

/** Fits libsodium's 4 MiB heap without growing it, and is enough for 1,600 datagrams. */
const ARENA_BYTES = 2 << 20;
/** The largest UDP datagram with its tag. */
const SCRATCH_BYTES = (64 << 10) + 64;
const TAG_BYTES = 16;
const KEY_WORDS = 8;
const IV_WORDS = 3;
let opened: Promise<PacketHeap> | undefined;
