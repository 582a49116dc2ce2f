/** Tells how far it is while very many people are let into a group, some hundred with each change. */
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Group } from "../talk/groups.ts";

export interface Letting {
  readonly names: readonly UserName[];
  /** The group as this home has it by now. */
  group(): Group;
  say(line: string): void;
  /** Waits for the next look; a test has its own. */
  pause(): Promise<void>;
}

/** Waits for `work`, and says meanwhile how many are in whenever that has changed. */
export async function tellingProgress<T>({ names, group, say, pause }: Letting, work: Promise<T>): Promise<T> {
  let isOver = false, told = 0;
  const done = work.finally(() => isOver = true);
  if (names.length < MANY) return await done;
  const wanted = new Set(names);
  while (!isOver) {
    await Promise.race([pause(), done]);
    const view = group(), there = view.members.filter(({ name }) => wanted.has(name)).length;
    if (isOver || there === told) continue;
    told = there;
    say(`${there} of ${names.length} are in ${view.address}`);
  }
  return await done;
}

/** Fewer come with one change. */
const MANY = 201;
