/** Why what was given to send does not leave for now: for those who wait for it, and told once where somebody can help. */
import { ErrorCode } from "../../shared/errors.ts";
import type { NoticeEvent } from "../events.ts";
import type { ServerRefusal } from "../network/failures.ts";

export class Holdups {
  readonly #onNotice: (notice: NoticeEvent) => void;
  /** Why nothing can be sent for now. */
  #held: { readonly code: number; readonly message: string } | undefined;
  /** Why nothing could be sent to somebody, or to a group, when that was tried last. */
  readonly #notReady = new Map<string, string>();

  constructor(onNotice: (notice: NoticeEvent) => void) {
    this.#onNotice = onNotice;
  }

  /** The server takes nothing. Told once, until something is taken again. */
  heldUp({ code, message }: ServerRefusal): void {
    const isNews = this.#held?.code !== code;
    this.#held = { code, message };
    if (code !== ErrorCode.diskFull || !isNews) return;
    const text = `${message}: what you send waits in the outbox, and goes when there is room`;
    this.#onNotice({ type: "notice", code: "server-full", text });
  }

  /** This device can send nothing to somebody, or to a group. @param name Their address. */
  notReady(name: string, text: string): void {
    this.#notReady.set(name, text);
    this.#held = { code: NOT_READY, message: text };
    this.#onNotice({ type: "notice", code: "waiting", name, text });
  }

  /** Something was taken. */
  isOver(): void {
    this.#held = undefined;
  }

  /** Why it may be that what is for that address has not left. */
  reason(name: string): string | undefined {
    return this.#notReady.get(name) ?? this.#held?.message;
  }
}

/** No code of the server: it is this device that is not in the conversation yet. */
const NOT_READY = -1;
