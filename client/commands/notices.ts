/** What a client notices while a command runs, for people: on standard error, each once. */
import type { NoticeEvent } from "../events.ts";
import { printError } from "../output.ts";

export interface NoticesOptions {
  readonly print?: (line: string) => void;
  /** What need not be told. */
  readonly untold?: (notice: NoticeEvent) => boolean;
}

export class Notices {
  readonly #print: (line: string) => void;
  readonly #told = new Set<string>();
  /** What the command may be about to fail for, and then says itself. */
  readonly #held = new Set<string>();

  readonly #untold: (notice: NoticeEvent) => boolean;

  constructor({ print = printError, untold = () => false }: NoticesOptions = {}) {
    this.#print = print;
    this.#untold = untold;
  }

  tell(notice: NoticeEvent): void {
    const { code, text } = notice;
    if (TOLD_ELSEWHERE.has(code) || this.#untold(notice) || this.#told.has(text)) return;
    if (code === "key-changed" || code === "key-log") return void this.#held.add(text);
    this.#told.add(text);
    this.#print(`fastchat: ${text}`);
  }

  /** This is told by the command's failure. */
  drop(error: unknown): void {
    if (error instanceof Error) this.#held.delete(error.message);
  }

  /** The command is over. */
  flush(): void {
    for (const text of this.#held) if (!this.#told.has(text)) this.#print(`fastchat: ${text}`);
    this.#held.clear();
  }
}

/** First contact is how everything begins, and that a home is not sealed is told before it is connected. */
const TOLD_ELSEWHERE: ReadonlySet<NoticeEvent["code"]> = new Set(["peer-pinned", "server-pinned", "unsealed"]);
