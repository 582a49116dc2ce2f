/**
 * Brings an archive back into a home: stream after stream, chunk after chunk, each judged by itself. What does not open, does not
 * follow or is not there is named, and takes none of the others with it. What the home has already stays as it is.
 */
import { type ArchiveOwner, directConversationId, equalBytes, sha256 } from "../../shared/crypto/mod.ts";
import { type ConversationId, parseUserName } from "../../shared/protocol/mod.ts";
import type { CopiedMessage } from "../copies/copied_message.ts";
import { Copies } from "../copies/copies.ts";
import type { Database } from "../home/database.ts";
import { ConversationKind, type Conversations } from "../talk/conversations.ts";
import type { Link } from "../network/link.ts";
import type { ShownArchive } from "./archiver.ts";
import { type ChunkContent, type ChunkPart, readChunk, type StreamHead } from "./chunk.ts";

export interface RestorerOptions {
  readonly database: Database;
  readonly conversations: Conversations;
  readonly owner: ArchiveOwner;
  /** The archive's, 32 bytes. */
  readonly key: Uint8Array;
  readonly link: Pick<Link, "ask">;
  /** Told of every chunk: how many of them are done. */
  onProgress(done: number, all: number): void;
}

/** What came of it. */
export interface Restored {
  /** Messages that are new in this home, and those that it had. */
  readonly messages: number;
  readonly known: number;
  readonly chunks: number;
  /** What is missing or was refused, a sentence each. */
  readonly problems: readonly string[];
}

export class Restorer {
  readonly #options: RestorerOptions;
  readonly #copies: Copies;
  readonly #problems: string[] = [];
  /** Hash of every chunk that was given, by stream and number. */
  readonly #given = new Map<string, Uint8Array>();
  /** What chunks say of streams, theirs and others. */
  readonly #said: StreamHead[] = [];
  #messages = 0;
  #known = 0;
  #chunks = 0;

  constructor(options: RestorerOptions) {
    this.#options = options;
    const { database, owner: { name } } = options;
    this.#copies = new Copies({ database, name });
  }

  /** @param remembered What a server had shown of this archive before. @throws What the link says. */
  async run(shown: ShownArchive, remembered: readonly StreamHead[]): Promise<Restored> {
    const all = shown.streams.reduce((sum, { chunks }) => sum + chunks, 0);
    for (const { stream, chunks } of shown.streams) {
      await this.#stream(stream, chunks, () => this.#options.onProgress(++this.#chunks, all));
    }
    this.#compare([...this.#said, ...remembered]);
    return { messages: this.#messages, known: this.#known, chunks: this.#chunks, problems: this.#problems };
  }

  async #stream(stream: Uint8Array, chunks: number, onChunk: () => void): Promise<void> {
    let last = 0, before: Uint8Array | undefined = new Uint8Array(32);
    while (last < chunks) {
      const page = await this.#options.link.ask<"archiveChunks">({ type: "archiveChunks", stream, after: last });
      const begin = last;
      for (const { number, body } of page.chunks) {
        if (number <= last) {
          this.#problem(`${nameOf(stream)}: the server gives chunk ${number} once more`);
          continue;
        }
        if (number > last + 1) {
          this.#missing(stream, last + 1, number - 1);
          before = undefined;
        }
        last = number;
        onChunk();
        const hash = sha256(body), content = this.#open(stream, number, body);
        if (content !== undefined) {
          this.#given.set(placeOf(stream, number), hash);
          if (before !== undefined && !equalBytes(content.previous, before)) {
            this.#problem(`${nameOf(stream)}: chunk ${number} does not follow on the one before it`);
          }
          this.#take(content);
        }
        before = content && hash;
      }
      if (last === begin) break;
    }
    if (last < chunks) this.#missing(stream, last + 1, chunks);
  }

  #open(stream: Uint8Array, number: number, sealed: Uint8Array): ChunkContent | undefined {
    const { key, owner } = this.#options, content = readChunk(key, { ...owner, stream, number }, sealed);
    if (content === undefined) this.#problem(`${nameOf(stream)}: chunk ${number} was altered, or is not of that place`);
    return content;
  }

  #take({ parts, others }: ChunkContent): void {
    this.#said.push(...others);
    this.#options.database.transaction(() => {
      for (const part of parts) {
        if (!this.#know(part)) {
          this.#problem(
            `Messages of a conversation that cannot be one are left out: ${part.conversation.slice(0, 8)}…`,
          );
          continue;
        }
        const { conversation } = part, entries = part.entries.filter((entry) => !this.#has(conversation, entry));
        const added = this.#copies.importCopies({ conversation, entries, from: "" });
        this.#messages += added;
        this.#known += part.entries.length - added;
      }
    });
  }

  /** One message may have had two places: it was sent again to a server that was restored, and archived both times. */
  #has(conversation: ConversationId, { id, device }: CopiedMessage): boolean {
    return this.#options.database.get(
      "SELECT 1 FROM messages WHERE id = ? AND conversation = ? AND device = ? AND text IS NOT NULL AND kind = 1",
      id,
      conversation,
      device,
    ) !== undefined;
  }

  /** Sees to it that the home has the conversation: one that the server does not list any more has ended. */
  #know({ conversation: id, kind, name, entries }: ChunkPart): boolean {
    const { conversations, owner } = this.#options;
    if (conversations.get(id) !== undefined) return true;
    // Whatever the server gives of it later is what comes behind.
    const cursor = entries.at(-1)?.seq ?? 0;
    if (kind === ConversationKind.group) {
      conversations.addGroup({ id, cursor });
      conversations.setGroup(id, { name: name === "" ? UNNAMED : name, topic: "", ended: true, members: [] });
      return true;
    }
    const peer = parseUserName(name);
    if (kind !== ConversationKind.direct || peer === undefined) return false;
    if (directConversationId(owner.clusterId, owner.name, peer) !== id) return false;
    conversations.add({ id, peer, cursor });
    return true;
  }

  /** What a stream had once, it has: the chunk of that number, and the very same. */
  #compare(heads: readonly StreamHead[]): void {
    const told = new Set<string>();
    for (const { stream, chunks, head } of heads) {
      const given = this.#given.get(placeOf(stream, chunks));
      const is = given === undefined ? "missing" : equalBytes(given, head) ? "there" : "another one now";
      const text = `${nameOf(stream)}: chunk ${chunks}, which the server had, is ${is}`;
      if (is === "there" || told.has(text)) continue;
      told.add(text);
      this.#problem(text);
    }
  }

  #missing(stream: Uint8Array, from: number, to: number): void {
    this.#problem(`${nameOf(stream)}: ${from === to ? `chunk ${from} is` : `chunks ${from} to ${to} are`} missing`);
  }

  #problem(text: string): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push(text);
  }
}

function nameOf(stream: Uint8Array): string {
  return `Part ${stream.toHex().slice(0, 8)}`;
}

function placeOf(stream: Uint8Array, number: number): string {
  return `${stream.toHex()} ${number}`;
}

const UNNAMED = "archived";
/** Nobody reads more. */
const PROBLEMS_MAX = 100;
