/** The plain-line chat: prints what comes above the line you type. Without a terminal it reads lines and prints lines. */
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import { NAME_RULE, parseUserName } from "../../shared/protocol/mod.ts";
import type { ChatClient } from "../chat_client.ts";
import { FastChatError, RefusedError, UsageError } from "../errors.ts";
import type { MessageEvent, StateEvent } from "../events.ts";
import { paint, paintName, printError, printLine } from "../output.ts";
import { nearest } from "../suggest.ts";
import { clock, CONTINUED, eventLine, historyLine } from "./lines.ts";
import { mark, trustSign } from "./marks.ts";
import { decideSafety, safetyOverlay, safetyScreen, safetyWith } from "./safety_dialog.ts";
import { safetyRows } from "./safety_screen.ts";
import { type Line, parseLine, SLASH_COMMANDS } from "./slash.ts";
import { LineTerminal, terminalSize } from "./terminal.ts";
import { listMark, trustLine } from "./trust_lines.ts";

export class ChatFace {
  readonly #chat: ChatClient;
  /** Whom a plain text goes to. */
  #to: string | undefined;
  /** Messages from others than `#to` since each was last looked at. */
  readonly #unread = new Map<string, number>();
  readonly #names = new Set<string>();
  /** Who is typing to this person. */
  readonly #typing = new Set<string>();
  /** The newest message to each, and when it was stored. */
  readonly #lastSent = new Map<string, { readonly id: string; readonly time: string; readonly atMs: number }>();
  readonly #leaving = new AbortController();
  #terminal: LineTerminal | undefined;
  /** Of the first line that failed. */
  #exitCode = 0;

  /** @param options.to Whom to talk to at first. */
  constructor(chat: ChatClient, options: { readonly to?: string } = {}) {
    this.#chat = chat;
    this.#to = options.to;
  }

  /**
   * Until the person leaves, the input ends (what was typed is sent first), or `signal` aborts.
   *
   * @returns Without a terminal the exit code of the first line that failed, else 0.
   */
  async run(signal: AbortSignal): Promise<number> {
    signal.addEventListener("abort", () => this.#leaving.abort());
    const interactive = Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
    if (interactive) this.#startTerminal();
    try {
      this.#greet();
      const showing = [this.#showMessages(), this.#showEvents()];
      if (!interactive) await this.#readLines();
      await Promise.all(showing);
      return interactive ? 0 : this.#exitCode;
    } finally {
      this.#terminal?.close();
    }
  }

  #startTerminal(): void {
    this.#terminal = new LineTerminal({
      complete: (before) => this.#complete(before),
      onInput: (line) => this.#tellTyping(line),
      onKey: (name) => {
        if (name === "alt-v") void this.#enter("/verify");
        return name === "alt-v";
      },
      onLine: (line) => void this.#enter(line),
      onLeave: () => this.#leaving.abort(),
    });
    this.#terminal.start();
    this.#showPrompt();
  }

  #greet(): void {
    const { name, connectedTo } = this.#chat;
    this.#print(paint("dim", `* ${name} on ${connectedTo}, end-to-end encrypted. /help lists commands`));
    const peers = this.#chat.conversations().map(({ name }) => name);
    for (const peer of peers) this.#names.add(peer);
    const hint = peers.length === 0
      ? "/all shows who is here; @NAME hello writes to somebody"
      : `/to NAME goes on talking: ${peers.slice(0, GREETED_MAX).join(", ")}${peers.length > GREETED_MAX ? ", …" : ""}`;
    this.#print(paint("dim", `* ${hint}`));
  }

  /** Everything not shown yet, then everything that comes; the cursor moves behind each after it is on the screen. */
  async #showMessages(): Promise<void> {
    while (!this.#leaving.signal.aborted) {
      await this.#chat.show((event) => {
        this.#print(eventLine(event, this.#chat.name));
        if (event.type === "message") this.#noticeSender(event);
      });
      await this.#chat.waitForUnshown(60_000, this.#leaving.signal);
    }
    await this.#chat.close();
  }

  async #showEvents(): Promise<void> {
    let isGreeted = false;
    for await (const event of this.#chat.events({ presence: this.#terminal !== undefined })) {
      if (event.type === "message" || event.type === "refused" || event.type === "change") continue;
      // Who is here is not worth a line; /online tells.
      if (event.type === "presence") continue;
      if (event.type === "typing") {
        if (event.typing) this.#typing.add(event.name);
        else this.#typing.delete(event.name);
        this.#showTyping();
        continue;
      }
      if (event.type === "state") {
        this.#showState(event);
        continue;
      }
      // The greeting told of the first connection, and leaving needs no comment.
      const isKnown = event.type === "connection" &&
        (event.state === "closed" || (event.state === "connected" && !isGreeted));
      if (event.type === "connection") isGreeted = true;
      if (!isKnown) this.#print(eventLine(event, this.#chat.name));
      if (event.type === "notice") this.#showPrompt();
    }
  }

  /** A text to whom one talks is being typed; what becomes a command or goes to somebody else is nobody's business. */
  #tellTyping(line: string): void {
    if (this.#to === undefined || this.#to === this.#chat.name || this.#leaving.signal.aborted) return;
    this.#chat.typing(this.#to, line !== "" && parseLine(line).type === "text");
  }

  #showTyping(): void {
    const isTyping = this.#to !== undefined && this.#typing.has(this.#to);
    this.#terminal?.setStatus(isTyping ? `typing: ${this.#to}` : "");
  }

  /** A line that is on the screen cannot be changed, so it says ✓ and no more; what comes much later is worth a line of its own. */
  #showState({ id, to, state }: StateEvent): void {
    if (state !== "delivered" && state !== "read") return;
    const last = this.#lastSent.get(to);
    if (last?.id !== id || performance.now() - last.atMs < QUIET_MS) return;
    const what = state === "read" ? "has read what you wrote" : "has what you wrote";
    this.#print(paint("dim", `* ✓✓ ${to} ${what} at ${clock(last.time)}`));
  }

  #showStatus(name: string | undefined): void {
    const queued = this.#chat.outbox().filter(({ to }) => name === undefined || to === name);
    if (name !== undefined) {
      const own = this.#chat.history(name, STATUS_LOOKED_AT).filter(({ state }) => state !== undefined);
      if (own.length === 0 && queued.length === 0) this.#print(`* nothing sent to ${name} yet`);
      for (const event of own.slice(-STATUS_SHOWN)) this.#print(historyLine(event, this.#chat.name));
    } else if (queued.length === 0) this.#print("* nothing is queued");
    for (const { to, text, reason } of queued) {
      const why = reason === undefined ? "" : ` (${reason})`;
      this.#print(
        `* ${mark(reason === undefined ? "queued" : "failed")} → ${to}: ${text.replaceAll("\n", CONTINUED)}${why}`,
      );
    }
  }

  #noticeSender({ from }: MessageEvent): void {
    this.#names.add(from);
    if (this.#to === undefined) this.#talkTo(from);
    else if (from !== this.#to) this.#unread.set(from, (this.#unread.get(from) ?? 0) + 1);
  }

  async #readLines(): Promise<void> {
    const decoder = new TextDecoderStream();
    let pending = "";
    for await (const piece of Deno.stdin.readable.pipeThrough(decoder)) {
      const lines = (pending + piece).split("\n");
      pending = lines.pop()!;
      for (const line of lines) await this.#enter(line.replace(/\r$/, ""));
      if (this.#leaving.signal.aborted) return;
    }
    if (pending !== "") await this.#enter(pending);
    this.#leaving.abort();
  }

  async #enter(line: string): Promise<void> {
    if (line.trim() === "") return;
    try {
      await this.#act(parseLine(line));
    } catch (error) {
      if (this.#leaving.signal.aborted && !(error instanceof FastChatError)) return;
      this.#tellError(error);
      if (!line.startsWith("/") && !line.startsWith("\\")) this.#fail(`not sent: ${line}`, error);
    }
  }

  #tellError(error: unknown): void {
    this.#fail(error instanceof Error ? error.message : String(error), error);
    // What failed may be that a key changed.
    this.#showPrompt();
  }

  /** For a person among the lines, for a script on standard error. */
  #fail(message: string, error: unknown): void {
    if (this.#terminal) return this.#print(paint("red", `* ${message}`));
    printError(`fastchat: ${message}`);
    this.#exitCode ||= error instanceof FastChatError ? error.exitCode : 1;
  }

  async #act(line: Line): Promise<void> {
    switch (line.type) {
      case "text":
        if (this.#to === undefined) {
          throw new UsageError("To whom? /to NAME, or @NAME and your text. /online shows who is here");
        }
        return await this.#send(this.#to, line.text);
      case "direct":
        return await this.#writeTo(this.#parseName(line.name), line.text);
      case "unknown": {
        const guess = nearest(line.word, SLASH_COMMANDS.map(({ name }) => name));
        const hint = guess ? `; did you mean /${guess}?` : ".";
        throw new UsageError(`There is no /${line.word}${hint} /help lists commands`);
      }
      case "command":
        return await this.#command(line);
    }
  }

  async #command(line: Extract<Line, { type: "command" }>): Promise<void> {
    const [first, second] = line.words;
    switch (line.name) {
      case "to":
        if (first === undefined) return this.#usage("to");
        return this.#turnTo(this.#parseName(first));
      case "msg": {
        const text = line.rest.slice(first?.length ?? 0).trimStart();
        if (first === undefined || text === "") return this.#usage("msg");
        return await this.#send(this.#parseName(first), text);
      }
      case "read":
        return this.#read(first, second);
      case "unread":
        return this.#showUnread();
      case "online":
        return this.#printPeople(await this.#chat.online());
      case "all":
        return this.#printPeople(await this.#chat.users());
      case "trust": {
        if (first === undefined) return this.#usage("trust");
        const name = this.#parseName(first);
        this.#print(`* Trusting ${name} with key ${await this.#chat.trust(name)} from now on`);
        return this.#showPrompt();
      }
      case "chats":
        return this.#showChats();
      case "verify":
        return await this.#verify(line.words);
      case "unverify": {
        const name = first === undefined ? this.#to : this.#parseName(first);
        if (name === undefined) return this.#usage("unverify");
        this.#chat.unverify(name);
        return this.#tellTrust(name);
      }
      case "status":
        return this.#showStatus(first === undefined ? this.#to : this.#parseName(first));
      case "whoami":
        this.#print(`* ${this.#chat.name} on ${this.#chat.server}, now at ${this.#chat.connectedTo}`);
        this.#print(`* your identity  ${formatFingerprint(this.#chat.fingerprint)}`);
        this.#print(`* server key     ${formatFingerprint(this.#chat.serverFingerprint)}`);
        this.#print(`* your things    ${this.#chat.home}`);
        return;
      case "help":
        for (const { usage, help } of SLASH_COMMANDS) this.#print(`  ${paint("bold", usage.padEnd(18))}${help}`);
        return;
      case "quit":
        this.#leaving.abort();
        return;
    }
  }

  /** Compares digits that were given, or shows those to compare. */
  async #verify(words: readonly string[]): Promise<void> {
    const isForThisOne = words.length === 0 || (this.#to !== undefined && /^[\d.-]+$/.test(words.join("")));
    const name = isForThisOne ? this.#to : this.#parseName(words[0]!);
    if (name === undefined) return this.#usage("verify");
    const number = words.slice(isForThisOne ? 0 : 1).join(" ");
    if (number !== "") {
      await this.#chat.verifyNumber(name, number);
      return this.#tellTrust(name);
    }
    const safety = await safetyWith(this.#chat, name), terminal = this.#terminal;
    const screen = safetyScreen(this.#chat, safety, terminal !== undefined);
    if (terminal === undefined) {
      const below = `Compare in person or by phone; then: /verify ${name} NUMBER`;
      for (const row of safetyRows(screen, { ...terminalSize(), colour: false }, below)) this.#print(row);
      return;
    }
    terminal.show(safetyOverlay(screen, (effect) => {
      decideSafety(this.#chat, safety, effect).then(() => this.#tellTrust(name), (error) => this.#tellError(error));
    }));
  }

  /** Where somebody stands now, in a line and in the prompt. */
  #tellTrust(name: string): void {
    const line = trustLine(this.#chat.trustOf(name));
    if (line !== "") this.#print(line);
    this.#showPrompt();
  }

  #showChats(): void {
    const chats = this.#chat.conversations();
    if (chats.length === 0) this.#print("* nobody yet; /all shows who is here");
    for (const { name, unread } of chats) {
      const trust = name.startsWith("#") ? "" : listMark(this.#chat.trustOf(name));
      this.#print(`  ${paintName(name)}${trust}${unread > 0 ? `  ${unread} new` : ""}`);
    }
  }

  /** Talks to somebody from now on, unless there is no such person. */
  async #writeTo(name: string, text: string): Promise<void> {
    const before = this.#to;
    if (name === before) this.#talkTo(name);
    else this.#turnTo(name);
    if (text === "") return;
    try {
      await this.#send(name, text);
    } catch (error) {
      if (error instanceof RefusedError && this.#to === name) this.#talkTo(before);
      throw error;
    }
  }

  async #send(to: string, text: string): Promise<void> {
    const late = setTimeout(() => {
      const what = this.#chat.isConnected
        ? "waiting for the server to store"
        : "queued, will be sent when the connection is back";
      this.#print(paint("dim", `* ${what}: ${text.replaceAll("\n", CONTINUED)}`));
    }, LATE_MS);
    try {
      const { id, time } = await this.#chat.send(to, text);
      this.#lastSent.set(to, { id, time, atMs: performance.now() });
      this.#names.add(to);
      const shown = text.replaceAll("\n", CONTINUED);
      this.#print(`${clock(time)} ${paint("bold", "me")} → ${to}: ${shown} ${paint("green", "✓")}`);
    } finally {
      clearTimeout(late);
    }
  }

  #read(first: string | undefined, second: string | undefined): void {
    const countOnly = first !== undefined && /^\d+$/.test(first) && second === undefined && this.#to !== undefined;
    const name = countOnly || first === undefined ? this.#to : this.#parseName(first);
    if (name === undefined) return this.#usage("read");
    const count = Number((countOnly ? first : second) ?? 20);
    if (!Number.isInteger(count) || count < 1) return this.#usage("read");
    const events = this.#chat.history(name, count);
    if (events.length === 0) this.#print(`* nothing yet between you and ${name}`);
    for (const event of events) this.#print(historyLine(event, this.#chat.name));
    this.#unread.delete(name);
  }

  #showUnread(): void {
    if (this.#unread.size === 0) this.#print("* nothing unread");
    for (const [name, count] of this.#unread) {
      this.#print(`* ${paintName(name)}: ${count} since you last looked; /read ${name}, or /to ${name}`);
    }
  }

  #printPeople(people: readonly { name: string; online: boolean }[]): void {
    if (people.length === 0) this.#print("* nobody");
    const trusts = this.#chat.trustsOf(people.map(({ name }) => name));
    for (const [i, { name, online }] of people.entries()) {
      this.#names.add(name);
      const mark = name === this.#chat.name ? " (you)" : listMark(trusts[i]!);
      this.#print(`  ${online ? paint("green", "●") : " "} ${paintName(name)}${mark}`);
    }
  }

  /** The person turns to somebody: worth saying how far they are known. */
  #turnTo(name: string): void {
    this.#talkTo(name);
    const line = trustLine(this.#chat.trustOf(name));
    if (line !== "") this.#print(line);
  }

  #talkTo(name: string | undefined): void {
    this.#to = name;
    if (name !== undefined) this.#unread.delete(name);
    this.#showPrompt();
  }

  #showPrompt(): void {
    const sign = this.#to === undefined ? "" : trustSign(this.#chat.trustOf(this.#to).trust);
    this.#terminal?.setPrompt(`${paint("dim", `[${this.#to ?? "-"}${sign}]`)} `);
    this.#showTyping();
  }

  #parseName(word: string): string {
    const name = parseUserName(word.replace(/^@/, ""));
    if (name === undefined) throw new UsageError(`${JSON.stringify(word)} cannot be a name: a name is ${NAME_RULE}`);
    return name;
  }

  #usage(name: string): never {
    throw new UsageError(`Usage: ${SLASH_COMMANDS.find((command) => command.name === name)!.usage}`);
  }

  #complete(before: string): readonly string[] {
    const word = before.slice(before.lastIndexOf(" ") + 1);
    const first = word === before;
    if (first && /^[/\\]/.test(word)) {
      return SLASH_COMMANDS.map(({ name }) => word[0] + name).filter((candidate) => candidate.startsWith(word));
    }
    const at = word.startsWith("@") ? "@" : "";
    if (word === "" || (first && at === "")) return [];
    return [...this.#names].map((name) => at + name).filter((candidate) => candidate.startsWith(word)).sort();
  }

  #print(text: string): void {
    if (this.#terminal) this.#terminal.print(text);
    else printLine(text);
  }
}

/** A send that takes longer says so. */
const LATE_MS = 1500;
/** What is delivered within this is not worth a line. */
const QUIET_MS = 10_000;
/** Messages among which /status looks for one's own, and how many of those it shows. */
const STATUS_LOOKED_AT = 50;
const STATUS_SHOWN = 5;
/** Conversations that the greeting names. */
const GREETED_MAX = 8;
