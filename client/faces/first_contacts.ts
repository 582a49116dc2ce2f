/** People met for the first time, told together: whoever comes into a group meets many at once. */
import { listed } from "../group_acts.ts";

export class FirstContacts {
  readonly #tell: (line: string) => void;
  #names: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param tell Prints a line. */
  constructor(tell: (line: string) => void) {
    this.#tell = tell;
  }

  add(name: string): void {
    this.#names.push(name);
    this.#timer ??= setTimeout(() => this.flush(), TOGETHER_MS);
  }

  /** Tells what is there. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const names = this.#names.splice(0);
    if (names.length > 0) this.#tell(firstContactLine(names));
  }
}

/** @param names At least one. */
export function firstContactLine(names: readonly string[]): string {
  const shown = names.slice(0, NAMED_MAX), more = names.length - shown.length;
  const all = more > 0 ? `${shown.join(", ")} and ${more} others` : listed(shown);
  return `* first contact with ${all}: unverified; /verify ${names.length === 1 ? names[0] : "NAME"} to be sure`;
}

const TOGETHER_MS = 200;
const NAMED_MAX = 4;
