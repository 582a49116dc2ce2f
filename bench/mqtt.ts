/**
 * As much of MQTT 3.1.1 as a chat needs: publish and receive at QoS 1 (at least once, each message acknowledged) over TLS, with a
 * session that outlives its connection. What is sent in one turn of the event loop, and while a write is under way, is one write.
 */

export interface MqttOptions {
  readonly host: string;
  readonly port: number;
  /** PEM of the authority that signed the server's certificate, and the name in it. */
  readonly ca: string;
  readonly serverName: string;
  /** Also its user name and the topic it listens on. */
  readonly client: string;
  readonly password: string;
  /** @param payload Borrowed. */
  onMessage(payload: Uint8Array): void;
  /** The connection ended without {@linkcode MqttClient.close}. */
  onLost(error: unknown): void;
}

export class MqttClient {
  readonly #conn: Deno.TlsConn;
  readonly #options: MqttOptions;
  #queue: Uint8Array[] = [];
  #isWriting = false;
  #isClosed = false;
  #packetId = 0;
  /** Who waits for the answer to CONNECT or SUBSCRIBE. */
  #control: { readonly type: PacketType; readonly resolve: (body: Uint8Array) => void } | undefined;

  private constructor(conn: Deno.TlsConn, options: MqttOptions) {
    this.#conn = conn;
    this.#options = options;
    void this.#receive();
  }

  /** Connects, logs in and listens on its own topic. @throws Where the broker refuses. */
  static async connect(options: MqttOptions): Promise<MqttClient> {
    const { host, port, ca, serverName, client: name, password } = options;
    const tcp = await Deno.connect({ hostname: host, port });
    // Mosquitto is told to do the same: Nagle's delay would be counted against it.
    tcp.setNoDelay(true);
    const client = new MqttClient(await Deno.startTls(tcp, { hostname: serverName, caCerts: [ca] }), options);
    const connected = await client.#ask(PacketType.Connack, connectPacket(name, password));
    if (connected[1] !== 0) throw new Error(`The broker refused ${name}: code ${connected[1]}`);
    const granted = await client.#ask(PacketType.Suback, subscribePacket(client.#nextId(), name));
    if (granted[2] !== QOS) throw new Error(`The broker granted ${name} QoS ${granted[2]}`);
    return client;
  }

  publish(topic: string, payload: Uint8Array): void {
    this.#send(packet(PacketType.Publish | QOS << 1, [text(topic), u16(this.#nextId()), payload]));
  }

  close(): void {
    this.#isClosed = true;
    this.#conn.close();
  }

  #ask(type: PacketType, bytes: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve) => {
      this.#control = { type, resolve };
      this.#send(bytes);
    });
  }

  #send(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    if (this.#isWriting || this.#isClosed) return;
    this.#isWriting = true;
    setImmediate(() => this.#write());
  }

  async #write(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const bytes = this.#queue.length === 1 ? this.#queue[0]! : concat(this.#queue);
        this.#queue = [];
        for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#isWriting = false;
  }

  async #receive(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    let held = 0;
    try {
      for (;;) {
        const count = await this.#conn.read(buffer.subarray(held));
        if (count === null) throw new Error("The broker closed the connection");
        const bytes = buffer.subarray(0, held + count);
        const used = this.#parse(bytes);
        buffer.copyWithin(0, used, bytes.length);
        held = bytes.length - used;
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @returns How many bytes were whole packets. */
  #parse(bytes: Uint8Array): number {
    let at = 0;
    for (;;) {
      let length = 0, body = at + 1, shift = 0;
      // MQTT 3.1.1 §2.2.3: seven bits a byte, the lowest first.
      for (;; shift += 7) {
        if (body >= bytes.length) return at;
        const byte = bytes[body++]!;
        length |= (byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
      if (body + length > bytes.length) return at;
      this.#handle(bytes[at]!, bytes.subarray(body, body + length));
      at = body + length;
    }
  }

  #handle(first: number, body: Uint8Array): void {
    const type = first & 0xf0;
    if (type === PacketType.Publish) {
      const idAt = 2 + (body[0]! << 8 | body[1]!);
      this.#options.onMessage(body.subarray(idAt + 2));
      this.#send(packet(PacketType.Puback, [body.slice(idAt, idAt + 2)]));
    } else if (type === this.#control?.type) {
      const { resolve } = this.#control;
      this.#control = undefined;
      resolve(body.slice());
    }
  }

  #fail(error: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#options.onLost(error);
  }

  /** From 1 to 65,535; with 16 outstanding none is in use twice. */
  #nextId(): number {
    return this.#packetId = this.#packetId % 0xffff + 1;
  }
}

enum PacketType {
  Connect = 0x10,
  Connack = 0x20,
  Publish = 0x30,
  Puback = 0x40,
  Subscribe = 0x82,
  Suback = 0x90,
}

/** §3.1. Without "clean session": the broker keeps what comes while the client is away. */
function connectPacket(client: string, password: string): Uint8Array {
  const flags = 0xc0;
  return packet(PacketType.Connect, [
    text("MQTT"),
    new Uint8Array([4, flags, 0, 0]),
    text(client),
    text(client),
    text(password),
  ]);
}

function subscribePacket(id: number, topic: string): Uint8Array {
  return packet(PacketType.Subscribe, [u16(id), text(topic), new Uint8Array([QOS])]);
}

function packet(first: number, parts: readonly Uint8Array[]): Uint8Array {
  const head = [first];
  let length = parts.reduce((sum, part) => sum + part.length, 0);
  do {
    head.push(length > 0x7f ? length & 0x7f | 0x80 : length);
    length >>= 7;
  } while (length > 0);
  return concat([new Uint8Array(head), ...parts]);
}

function text(value: string): Uint8Array {
  const bytes = TEXT_ENCODER.encode(value);
  return concat([u16(bytes.length), bytes]);
}

function u16(value: number): Uint8Array {
  return new Uint8Array([value >> 8, value & 0xff]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const QOS = 1;
const READ_BYTES = 64 << 10;
const TEXT_ENCODER = new TextEncoder();
