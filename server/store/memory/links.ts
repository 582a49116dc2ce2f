/** Devices that are being linked, of the store in memory: the plain twin of `sqlite/links.ts`. */
import { LINK_MS, LINKS_MAX } from "../../../shared/limits.ts";
import type { Link, LinkGranted } from "../store.ts";

export class MemoryLinks {
  /** By their place, as hex. */
  readonly #links = new Map<string, Link & { readonly expiresMs: number }>();

  offer(place: Uint8Array, offer: Uint8Array, nowMs: number): Link | undefined {
    for (const [key, { expiresMs }] of this.#links) if (expiresMs <= nowMs) this.#links.delete(key);
    const known = this.#links.get(place.toHex());
    if (known !== undefined) return { offer: known.offer, grant: known.grant };
    if (this.#links.size >= LINKS_MAX) return undefined;
    this.#links.set(place.toHex(), { offer, grant: undefined, expiresMs: nowMs + LINK_MS });
    return { offer, grant: undefined };
  }

  of(place: Uint8Array, nowMs: number): Link | undefined {
    const known = this.#links.get(place.toHex());
    return known === undefined || known.expiresMs <= nowMs ? undefined : { offer: known.offer, grant: known.grant };
  }

  grant(place: Uint8Array, grant: LinkGranted, nowMs: number): boolean {
    const known = this.#links.get(place.toHex());
    if (known === undefined || known.expiresMs <= nowMs) return false;
    this.#links.set(place.toHex(), { ...known, grant });
    return true;
  }
}
