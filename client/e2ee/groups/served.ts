/**
 * To whom the server delivers a group, held against who is in it (SECURITY M9). Its list is for delivery only; where the two
 * differ for longer than a commit is on its way, that is told.
 */
import type { UserName } from "../../../shared/protocol/mod.ts";
import type { Warning } from "../engine.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import type { Loaded } from "./library.ts";
import { differs } from "./reasons.ts";

export class Served {
  readonly #context: Context;
  readonly #loaded: Loaded;

  constructor(context: Context, loaded: Loaded) {
    this.#context = context;
    this.#loaded = loaded;
  }

  /** Looks twice, since the server hears of a commit before its members read it. @throws ConnectionLostError, ServerRefusal */
  async compare(here: Conversation): Promise<void> {
    const { onWarning } = this.#context.options;
    const first = await this.#differences(here), { lastCommit } = here.state;
    if (first.length === 0) return;
    await this.#context.background.pause(AGAIN_MS);
    const second = await this.#differences(here);
    // It changes right now: with the next connection it is looked at again.
    if (here.state.lastCommit !== lastCommit) return;
    for (const warning of second) {
      if (first.some(({ text }) => text === warning.text)) onWarning(here.id, warning);
    }
  }

  async #differences(here: Conversation): Promise<Warning[]> {
    const { lib } = this.#loaded, served = new Set<UserName>(), group = here.sound;
    if (group === undefined) return [];
    for (let after = "", more = true; more;) {
      const page = await this.#context.options.ask<"members">({ type: "members", conversation: here.id, after });
      for (const { name } of page.users) served.add(name);
      after = page.users.at(-1)?.name ?? "";
      more = page.more && after !== "";
    }
    if (here.sound === undefined || here.sound.pending !== undefined) return [];
    const left = new Set(here.state.leaves.map(({ user }) => user));
    const there = new Set(lib.rosterOf(here.sound).members.map(({ user }) => user));
    return [
      ...[...served].filter((name) => !there.has(name)).map((name) => differs(name, "delivers this group to")),
      ...[...there].filter((name) => !served.has(name) && !left.has(name))
        .map((name) =>
          differs(name, "does not deliver this group to", `: fastchat group add GROUP ${name} puts that right`)
        ),
    ];
  }
}

const AGAIN_MS = 10_000;
