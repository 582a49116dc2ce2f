/** The plain-line chat: prints what comes above the line you type. Without a terminal it reads lines and prints lines. */
import type { ChatClient } from "../chat_client.ts";
import { FastChatError, KeyChangedError, RefusedError, UsageError } from "../errors.ts";
import type { Presence } from "../session.ts";
import type { ChatEvent, MessageEvent, StateEvent } from "../events.ts";
import { decideDevice, deviceOverlay, newDeviceNotice, newDevicePopup, newDeviceStatus } from "./device_dialog.ts";
import { DEVICE_KEYS, type DeviceAct } from "./device_popup.ts";
import { FirstContacts } from "./first_contacts.ts";
import { parseGroupLine } from "./group_line.ts";
import { paint, printError, printLine } from "../output.ts";
import { nearest } from "../../shared/suggest.ts";
import { clock, CONTINUED, eventLine } from "./lines.ts";
import { chatsRows, groupsRows, helpPage, peopleRows, statusRows, talkRows, unreadRows, whoamiRows } from "./pages.ts";
import { decideSafety, safetyOverlay, safetyScreen, safetyWith } from "./safety_dialog.ts";
import { safetyRows } from "./safety_screen.ts";
import { type Line, parseLine, SLASH_COMMANDS } from "./slash.ts";
import { LineTerminal, terminalSize } from "./terminal.ts";
import { Talk } from "./talk.ts";
import { takeWord } from "../words.ts";

export class ChatFace {
  readonly #chat: ChatClient;
  readonly #talk: Talk;
  readonly #contacts = new FirstContacts((line) => this.#print(paint("dim", line)));
  /** The newest message to each, and when it was stored. */
  readonly #lastSent = new Map<string, { readonly id: string; readonly time: string; readonly atMs: number }>();
  /** The last notice, or what a changed key stopped. */
  #told: { readonly text: string; readonly atMs: number } | undefined;
  readonly #leaving = new AbortController();
  #terminal: LineTerminal | undefined;
  /** Of the first line that failed. */
  #exitCode = 0;

  /** Where it need not be asked for. */
  readonly #password: string | undefined;

  /** @param options.to Whom to talk to at first. @param options.password For what takes the identity; else it is asked for. */
  constructor(chat: ChatClient, options: { readonly to?: string; readonly password?: string | undefined } = {}) {
    this.#chat = chat;
    this.#password = options.password;
    this.#talk = new Talk(chat, options.to);
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
      this.#contacts.flush();
      return interactive ? 0 : this.#exitCode;
    } finally {
      this.#terminal?.close();
    }
  }

  #startTerminal(): void {
    this.#terminal = new LineTerminal({
      complete: (before) => this.#talk.complete(before),
      onInput: (line) => this.#tellTyping(line),
      onKey: (name) => {
        if (name === "alt-v") void this.#enter("/verify");
        return name === "alt-v" || this.#pressDevice(name);
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
    for (const peer of peers) this.#talk.met(peer);
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
        this.#talk.heard(event);
        this.#showPrompt();
      });
      await this.#chat.waitForUnshown(60_000, this.#leaving.signal);
    }
    await this.#chat.close();
  }

  async #showEvents(): Promise<void> {
    let isGreeted = false;
    for await (const event of this.#chat.events({ own: true, presence: this.#terminal !== undefined })) {
      if (event.type === "message") this.#showOwn(event);
      if (event.type === "message" || event.type === "refused" || event.type === "change") continue;
      // Who is here is not worth a line; /online tells.
      if (event.type === "presence") continue;
      if (event.type === "typing") {
        this.#talk.typed(event);
        this.#showTyping();
        continue;
      }
      if (event.type === "state") {
        this.#showState(event);
        continue;
      }
      if (event.type === "notice" && event.code === "peer-pinned" && event.name !== undefined) {
        this.#contacts.add(event.name);
        continue;
      }
      // The greeting told of the first connection, and leaving needs no comment.
      const isKnown = event.type === "connection" &&
        (event.state === "closed" || (event.state === "connected" && !isGreeted));
      if (event.type === "connection") isGreeted = true;
      if (isKnown || (event.type === "notice" && this.#isTold(event.text))) continue;
      this.#print(eventLine(this.#forKeys(event), this.#chat.name));
      if (event.type === "notice") this.#showPrompt();
    }
  }

  /** Who can press keys is told of those. */
  #forKeys(event: ChatEvent): ChatEvent {
    const text = this.#terminal && event.type === "notice" ? newDeviceNotice(event) : undefined;
    return text === undefined ? event : { ...event, text } as ChatEvent;
  }

  /** @returns Whether that key is about a device that was added with the password alone, and there is one. */
  #pressDevice(name: string): boolean {
    const act = DEVICE_KEYS[name];
    if (act === undefined || this.#chat.newDevices().length === 0) return false;
    this.#settleDevice(act).catch((error) => this.#tellError(error));
    return true;
  }

  async #settleDevice(act: DeviceAct): Promise<void> {
    const popup = await newDevicePopup(this.#chat, act, this.#password === undefined);
    if (popup === undefined) {
      this.#print("* that device was settled on another one of yours");
      return this.#showPrompt();
    }
    this.#terminal?.show(deviceOverlay(popup, (effect) => {
      decideDevice(this.#chat, popup.device, effect, this.#password).then((said) => {
        this.#showPrompt();
        this.#print(`* ${said}`);
      }, (error) => this.#tellError(error));
    }));
  }

  /** What this person writes on another device is part of the conversation here, too; the answers would make no sense without. */
  #showOwn(event: MessageEvent): void {
    if (event.from === this.#chat.name && event.device !== this.#chat.device) {
      this.#print(eventLine(event, this.#chat.name));
    }
  }

  /** A text to whom one talks is being typed; what becomes a command or goes to somebody else is nobody's business. */
  #tellTyping(line: string): void {
    const { to } = this.#talk;
    if (to === undefined || to === this.#chat.name || this.#leaving.signal.aborted) return;
    this.#chat.typing(to, line !== "" && parseLine(line).type === "text");
  }

  #showTyping(): void {
    this.#terminal?.setStatus(newDeviceStatus(this.#chat) || this.#talk.status());
  }

  /** A line that is on the screen cannot be changed, so it says ✓ and no more; what comes much later is worth a line of its own. */
  #showState({ id, to, state }: StateEvent): void {
    if (state !== "delivered" && state !== "read") return;
    const last = this.#lastSent.get(to);
    if (last?.id !== id || performance.now() - last.atMs < QUIET_MS) return;
    const what = state === "read" ? "has read what you wrote" : "has what you wrote";
    const who = to.startsWith("#") ? `everybody in ${to}` : to;
    this.#print(paint("dim", `* ✓✓ ${who} ${what} at ${clock(last.time)}`));
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

  async #enter(typed: string): Promise<void> {
    // What was pasted as whole lines ends with one that nobody meant.
    const line = typed.replace(/[\r\n]+$/, "");
    if (line.trim() === "") return;
    try {
      await this.#act(parseLine(line));
    } catch (error) {
      if (this.#leaving.signal.aborted && !(error instanceof FastChatError)) return;
      this.#tellError(error);
      if (!line.startsWith("/") && !line.startsWith("\\")) this.#fail(`not sent: ${line}`, error);
    } finally {
      // Another program of this home may have settled meanwhile what the prompt warns of.
      if (!this.#leaving.signal.aborted) this.#showPrompt();
    }
  }

  /** A key that changed is told by a notice and by what failed for it: once is enough, whichever comes first. */
  #isTold(text: string): boolean {
    const isTold = this.#told?.text === text && performance.now() - this.#told.atMs < TOLD_MS;
    this.#told = { text, atMs: performance.now() };
    return isTold;
  }

  #tellError(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    if (!(error instanceof KeyChangedError && this.#terminal && this.#isTold(message))) this.#fail(message, error);
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
        if (this.#talk.to === undefined) {
          throw new UsageError("To whom? /to NAME, or @NAME and your text. /online shows who is here");
        }
        return await this.#send(this.#talk.to, line.text);
      case "direct":
        return await this.#writeTo(this.#talk.parseName(line.name), line.text);
      case "unknown":
        throw this.#unknown(line.word);
      case "command":
        return await this.#command(line);
      case "group":
        return await this.#group(line);
    }
  }

  async #command(line: Extract<Line, { type: "command" }>): Promise<void> {
    const [first, second] = line.words;
    switch (line.name) {
      case "to":
        if (first === undefined) return this.#usage("to");
        return this.#turnTo(this.#talk.parse(first));
      case "msg": {
        const { word, rest } = takeWord(line.rest);
        if (rest === "") return this.#usage("msg");
        return await this.#send(this.#talk.parse(word), rest);
      }
      case "read":
        return this.#read(first, second);
      case "unread":
        return this.#printAll(unreadRows(this.#talk));
      case "online":
        return this.#showPeople(await this.#chat.online());
      case "all":
        return this.#showPeople(await this.#chat.users());
      case "trust": {
        if (first === undefined) return this.#usage("trust");
        if (first.startsWith("#")) return await this.#acceptFork(this.#talk.parse(first));
        const isChanged = this.#chat.trustOf(this.#talk.parseName(first)).trust === "changed";
        const name = this.#talk.parseName(first);
        this.#print(`* Trusting ${name} with key ${await this.#chat.trust(name)} from now on`);
        if (!isChanged) await this.#chat.acceptFork(name);
        return this.#showPrompt();
      }
      case "chats":
        return this.#printAll(chatsRows(this.#chat, this.#talk));
      case "groups":
        return this.#printAll(groupsRows(this.#chat));
      case "verify":
        return await this.#verify(line.words);
      case "unverify": {
        const name = first === undefined && !this.#talk.isGroup ? this.#talk.to : first && this.#talk.parseName(first);
        if (name === undefined) return this.#usage("unverify");
        this.#chat.unverify(name);
        return this.#tellTrust(name);
      }
      case "status":
        return this.#printAll(statusRows(this.#chat, first === undefined ? this.#talk.to : this.#talk.parse(first)));
      case "whoami":
        return this.#printAll(whoamiRows(this.#chat));
      case "help":
        return this.#showHelp(first);
      case "quit":
        this.#leaving.abort();
        return;
    }
  }

  async #acceptFork(group: string): Promise<void> {
    await this.#chat.acceptFork(group);
    this.#print(`* Sending in ${group} goes on, whatever its members were shown before`);
  }

  /** Compares digits that were given, or shows those to compare. */
  async #verify(words: readonly string[]): Promise<void> {
    const { to, isGroup } = this.#talk;
    if (words.length === 0 && isGroup) {
      for (const row of this.#talk.memberRows(to!)) this.#print(row);
      this.#print(paint("dim", "* /verify NAME shows the number to compare with one of them"));
      return;
    }
    const isForThisOne = words.length === 0 || (to !== undefined && !isGroup && /^[\d.-]+$/.test(words.join("")));
    const name = isForThisOne ? to : this.#talk.parseName(words[0]!);
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

  /** What is known of somebody or a group now, in a line and in the prompt. */
  #tellTrust(at: string): void {
    const title = this.#talk.title(at);
    if (title !== "") this.#print(title);
    this.#showPrompt();
  }

  async #group({ act, rest }: Extract<Line, { type: "group" }>): Promise<void> {
    const { group, words } = parseGroupLine(act, rest, this.#talk.to);
    const address = act.group === "existing" ? this.#talk.parse(group) : group;
    if (act.verb === "members") {
      this.#tellTrust(address);
      for (const row of this.#talk.memberRows(address)) this.#print(row);
      // Who is in it is known here; what else there is to say takes a connection.
      if (!this.#chat.isConnected) return;
    }
    const isHere = this.#talk.to === address;
    const { said, turnTo } = await act.run(this.#chat, address, words);
    for (const line of said) {
      if (act.verb === "link" && words.length === 0) this.#printLink(line);
      else this.#print(`* ${line}`);
    }
    if (turnTo === null && isHere) this.#talkTo(undefined);
    else if (typeof turnTo === "string" && (isHere || act.group === "new")) this.#talkTo(turnTo);
    else this.#showPrompt();
  }

  /** Alone in its line, for it is there to be copied. */
  #printLink(link: string): void {
    if (this.#terminal) this.#terminal.printWhole(link);
    else printLine(link);
  }

  #showHelp(topic: string | undefined): void {
    const rows = helpPage(topic);
    if (rows.length === 0) throw this.#unknown(topic!.replace(/^[/\\]/, ""));
    this.#printAll(rows);
  }

  #unknown(word: string): UsageError {
    const guess = nearest(word, SLASH_COMMANDS.map(({ name }) => name)),
      hint = guess ? `; did you mean /${guess}?` : ".";
    return new UsageError(`There is no /${word}${hint} /help lists commands`);
  }

  /** Talks to somebody from now on, unless there is no such person. */
  async #writeTo(name: string, text: string): Promise<void> {
    const before = this.#talk.to;
    if (name === before) this.#talkTo(name);
    else this.#turnTo(name);
    if (text === "") return;
    try {
      await this.#send(name, text);
    } catch (error) {
      if (error instanceof RefusedError && this.#talk.to === name) this.#talkTo(before);
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
      this.#talk.met(to);
      const shown = text.replaceAll("\n", CONTINUED);
      this.#print(`${clock(time)} ${paint("bold", "me")} → ${to}: ${shown} ${paint("green", "✓")}`);
    } finally {
      clearTimeout(late);
    }
  }

  #read(first: string | undefined, second: string | undefined): void {
    const { to } = this.#talk;
    const countOnly = first !== undefined && /^\d+$/.test(first) && second === undefined && to !== undefined;
    const at = countOnly || first === undefined ? to : this.#talk.parse(first);
    if (at === undefined) return this.#usage("read");
    const count = Number((countOnly ? first : second) ?? 20);
    if (!Number.isInteger(count) || count < 1) return this.#usage("read");
    this.#printAll(talkRows(this.#chat, at, count));
    this.#talk.looked(at);
  }

  #showPeople(people: readonly Presence[]): void {
    for (const { name } of people) this.#talk.met(name);
    this.#printAll(peopleRows(this.#chat, people));
  }

  /** The person turns to somebody: worth saying how far they are known. */
  #turnTo(at: string): void {
    this.#talk.turnTo(at);
    this.#tellTrust(at);
  }

  #talkTo(at: string | undefined): void {
    this.#talk.turnTo(at);
    this.#showPrompt();
  }

  #showPrompt(): void {
    this.#terminal?.setPrompt(`${this.#talk.prompt()} `);
    this.#showTyping();
  }

  #usage(name: string): never {
    throw new UsageError(`Usage: ${SLASH_COMMANDS.find((command) => command.name === name)!.usage}`);
  }

  #printAll(rows: readonly string[]): void {
    for (const row of rows) this.#print(row);
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
/** What is the same within this was told by the same event. */
const TOLD_MS = 2_000;
/** Conversations that the greeting names. */
const GREETED_MAX = 8;
