/** A server that another one leads: its end of the link. */
import { bool, DecodeError, read, type Reader, write } from "../../shared/codec/mod.ts";
import { connectLocal } from "../../shared/host/mod.ts";
import { userName } from "../../shared/protocol/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { ReceiptMoved, TypingHint } from "../bus/bus.ts";
import type { HubLine } from "../bus/cluster_bus.ts";
import type { HubPort } from "../bus/hub.ts";
import type { Calls } from "./calls.ts";
import { readCommitted } from "./committed_frame.ts";
import { FrameKind, Link, LINK_VERSION } from "./link.ts";
import {
  devicesChangedSchema,
  groupNewsSchema,
  receiptMovedSchema,
  sessionsEndedSchema,
  typingSchema,
} from "./operations.ts";

export interface FollowerOptions {
  /** The leader's socket. */
  readonly path: string;
  readonly serverNumber: number;
  readonly calls: Calls;
  /** Hears what was committed. */
  readonly port: HubPort;
}

export class Follower implements HubLine {
  /** The number of the leadership that we follow. */
  leadership = 0;
  /** Resolves with the reason when the link is gone. */
  readonly closed: Promise<unknown>;
  readonly link: Link;
  readonly #options: FollowerOptions;
  readonly #welcome = Promise.withResolvers<void>();

  private constructor(stream: Deno.Conn, options: FollowerOptions) {
    const closed = Promise.withResolvers<unknown>();
    this.closed = closed.promise;
    this.#options = options;
    this.link = new Link(stream, {
      onFrame: (kind, reader) => this.#receive(kind, reader),
      onClosed: (reason) => {
        this.#welcome.reject(new Error("The leader closed the link", { cause: reason }));
        closed.resolve(reason);
      },
    });
    this.link.start();
    this.link.send(FrameKind.Hello, (writer) => {
      writer.u16(LINK_VERSION);
      writer.u8(options.serverNumber);
    });
  }

  /** Connects and waits for the welcome. @throws where nobody listens, or the leader does not want us. */
  static async connect(options: FollowerOptions): Promise<Follower> {
    const follower = new Follower(await connectLocal(options.path), options);
    const timer = setTimeout(() => follower.link.close(new Error("No welcome in time")), WELCOME_MS_MAX);
    try {
      await follower.#welcome.promise;
      return follower;
    } finally {
      clearTimeout(timer);
    }
  }

  announce(user: UserName, online: boolean): void {
    this.link.send(FrameKind.Announce, (writer) => {
      write(userName, writer, user);
      write(bool, writer, online);
    });
  }

  watch(user: UserName, on: boolean): void {
    this.link.send(FrameKind.Watch, (writer) => {
      write(userName, writer, user);
      write(bool, writer, on);
    });
  }

  hint(hint: TypingHint): void {
    this.link.send(FrameKind.Typing, (writer) => write(typingSchema, writer, hint));
  }

  /** @throws DecodeError, which closes the link. */
  #receive(kind: FrameKind, reader: Reader): void {
    switch (kind) {
      case FrameKind.Welcome: {
        const version = reader.u16();
        this.leadership = reader.varint();
        reader.finish();
        if (version !== LINK_VERSION) throw new DecodeError(`Link version is ${version}, needs ${LINK_VERSION}`);
        return this.#welcome.resolve();
      }
      case FrameKind.Answer:
        return this.#options.calls.answered(reader);
      case FrameKind.Committed: {
        const committed = readCommitted(reader);
        reader.finish();
        return this.#options.port.committed(committed);
      }
      case FrameKind.Receipts: {
        const count = reader.varint(), moved: ReceiptMoved[] = [];
        for (let item = 0; item < count; item++) moved.push(read(receiptMovedSchema, reader));
        reader.finish();
        return this.#options.port.receipts(moved);
      }
      case FrameKind.DevicesChanged: {
        const change = read(devicesChangedSchema, reader);
        reader.finish();
        return this.#options.port.devicesChanged(change);
      }
      case FrameKind.SessionsEnded: {
        const ended = read(sessionsEndedSchema, reader);
        reader.finish();
        return this.#options.port.sessionsEnded(ended);
      }
      case FrameKind.GroupNews: {
        const news = read(groupNewsSchema, reader);
        reader.finish();
        return this.#options.port.groupNews(news);
      }
      case FrameKind.Presence: {
        const user = read(userName, reader), online = read(bool, reader);
        reader.finish();
        return this.#options.port.presence(user, online);
      }
      case FrameKind.Typing: {
        const hint = read(typingSchema, reader);
        reader.finish();
        return this.#options.port.typing(hint);
      }
      default:
        throw new DecodeError(`The leader sent frame kind ${kind}`);
    }
  }
}

const WELCOME_MS_MAX = 5000;
