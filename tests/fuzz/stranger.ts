/** Somebody with an address of their own, who counts what is sent to it: never more than was asked for. */
import type { Address } from "../../shared/net/channel.ts";
import { openUdp, type UdpSockets } from "../../shared/net/udp_socket.ts";
import { decodeLocated, encodeLocate, PacketType } from "../../shared/packet/mod.ts";

interface Account {
  sentBytes: number;
  receivedBytes: number;
}

export class Stranger {
  sent = 0;
  received = 0;
  /** What was answered against the rule. */
  readonly complaints: string[] = [];
  /** From the last LOCATED: valid here. */
  token: Uint8Array = new Uint8Array(0);
  readonly #sockets: UdpSockets;
  readonly #accounts = new Map<number, Account>();

  constructor(readonly host: string) {
    this.#sockets = openUdp({ host, port: 0, onDatagram: (bytes, from) => this.#onDatagram(bytes, from) });
  }

  /** @param bytes Not used again by the caller. */
  send(bytes: Uint8Array, to: Address): void {
    this.sent++;
    this.#account(to.port).sentBytes += bytes.length;
    this.#sockets.first.send(bytes, to, () => {});
  }

  /** Gets a token for this address, as any client would. */
  locate(balancer: Address): void {
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    this.send(encodeLocate({ version: 1, nonce, versions: [1], excluded: [] }), balancer);
  }

  /**
   * Sends one datagram from a port of its own and waits a moment: whatever comes there answers this one.
   *
   * @returns Whether something did.
   */
  async ask(bytes: Uint8Array, to: Address, waitMs: number): Promise<boolean> {
    let answered = () => {}, timer: ReturnType<typeof setTimeout> | undefined, isAnswered = false;
    const sockets = openUdp({
      host: this.host,
      port: 0,
      onDatagram: (answer) => {
        isAnswered = true;
        if (answer.length > bytes.length) {
          this.complaints.push(`${answer.length} bytes answer a datagram of ${bytes.length} (type ${bytes[0]})`);
        }
        answered();
      },
    });
    await new Promise<void>((resolve) => {
      answered = resolve;
      timer = setTimeout(resolve, waitMs);
      sockets.first.send(bytes, to, () => {});
    });
    clearTimeout(timer);
    await sockets.close();
    return isAnswered;
  }

  close(): Promise<void> {
    return this.#sockets.close();
  }

  #onDatagram(bytes: Uint8Array, from: Address): void {
    this.received++;
    const account = this.#account(from.port);
    account.receivedBytes += bytes.length;
    if (account.receivedBytes > account.sentBytes) {
      const { receivedBytes, sentBytes } = account;
      this.complaints.push(`${this.host} sent ${sentBytes} bytes to port ${from.port} and was sent ${receivedBytes}`);
    }
    if (bytes[0] === PacketType.located) this.token = decodeLocated(bytes)?.token ?? this.token;
  }

  #account(port: number): Account {
    let account = this.#accounts.get(port);
    if (account === undefined) this.#accounts.set(port, account = { sentBytes: 0, receivedBytes: 0 });
    return account;
  }
}
