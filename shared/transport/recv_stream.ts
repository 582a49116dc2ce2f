/** The receiving half of a stream: what the reader may have, and what the peer may send (RFC 9000 §3.2, §4). */
import { CloseCode, TransportError } from "../errors.ts";
import { Assembler, type PieceBudget } from "./assembler.ts";
import { ReceiveCredit } from "./flow_control.ts";

export class RecvStream {
  readonly credit: ReceiveCredit;
  readonly #assembler: Assembler;
  /** One past the highest offset received. */
  #highest = 0;
  /** Known from FIN or RESET_STREAM; -1 until then. */
  #finalSize = -1;
  #reset = false;
  /** We asked the peer to stop: what still comes is counted and thrown away. */
  #stopped = false;
  #stopCode = 0;
  #stopPending = false;
  /** Bytes read or thrown away. */
  #consumed = 0;

  constructor(windowBytes: number, budget: PieceBudget) {
    this.credit = new ReceiveCredit(windowBytes);
    this.#assembler = new Assembler(budget);
  }

  /** Nothing more will come, and all that came was read or is unwanted. */
  get isDone(): boolean {
    return this.#reset || (this.#finalSize >= 0 && (this.#stopped || this.#consumed === this.#finalSize));
  }

  /** The peer may still send, so credit and STOP_SENDING still mean something to it. */
  get isOpen(): boolean {
    return this.#finalSize < 0;
  }

  get hasData(): boolean {
    return this.#assembler.readyBytes > 0;
  }

  get stopPending(): boolean {
    return this.#stopPending;
  }

  get stopCode(): number {
    return this.#stopCode;
  }

  /**
   * Takes the data of a STREAM frame.
   *
   * @returns How far the highest offset rose: what the connection's credit has to pay for.
   * @throws TransportError
   */
  receive(offset: number, source: Uint8Array, from: number, to: number, fin: boolean): number {
    const end = offset + (to - from);
    const rise = this.#account(end, fin);
    if (!this.#stopped && !this.#reset) this.#assembler.insert(offset, source, from, to);
    return rise;
  }

  /** RESET_STREAM: what was not read is thrown away. @returns As {@linkcode receive}. @throws TransportError */
  receiveReset(finalSize: number): number {
    const rise = this.#account(finalSize, true);
    this.#reset = true;
    this.#assembler.clear();
    return rise;
  }

  /** The next contiguous bytes, owned by the caller. */
  read(): Uint8Array | undefined {
    const chunk = this.#assembler.read();
    if (chunk === undefined) return undefined;
    this.#consumed += chunk.length;
    this.credit.consume(chunk.length);
    return chunk;
  }

  /** Nobody wants to read any more. */
  stop(code: number): void {
    if (this.#stopped || this.isDone) return;
    this.#stopped = true;
    this.#stopCode = code;
    this.#stopPending = this.isOpen;
    this.#assembler.clear();
  }

  /** Bytes received that nobody will read: they are consumed by this, and returned for the connection's credit. */
  takeUnwanted(): number {
    if (!this.#stopped && !this.#reset) return 0;
    const unwanted = this.#highest - this.#consumed;
    this.#consumed = this.#highest;
    this.credit.consume(unwanted);
    return unwanted;
  }

  onStopSent(): void {
    this.#stopPending = false;
  }

  onStopLost(): void {
    this.#stopPending = this.#stopped && this.isOpen;
  }

  /** Final sizes never change and nothing lies beyond them (RFC 9000 §4.5). */
  #account(end: number, fin: boolean): number {
    if (this.#finalSize >= 0 ? end > this.#finalSize || (fin && end !== this.#finalSize) : fin && end < this.#highest) {
      throw new TransportError(CloseCode.finalSize, "Peer changed the final size of a stream");
    }
    if (fin) {
      this.#finalSize = end;
      this.#stopPending = false;
    }
    const rise = end - this.#highest;
    if (rise <= 0) return 0;
    this.credit.receive(rise);
    this.#highest = end;
    return rise;
  }
}
