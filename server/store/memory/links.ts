/** Devices that are being linked, of the store in memory: the plain twin of `sqlite/links.ts`. */
import { LINK_MS, LINKS_MAX } from "../../../shared/limits.ts";
import type { Link, LinkGranted } from "../store.ts";

export class MemoryLinks {
  /** By their place, as hex. */
  readonly #links = new Map<string, Link & { readonly expiresMs: number }>();

  offer(place: Uint8Array, offer: Uint8Array, nowMs: number): Link | undefined {
    const known = this.of(place, nowMs);
    if (known !== undefined) return known;
    return this.replace(place, offer, nowMs + LINK_MS, nowMs) ? { offer, grant: undefined } : undefined;
  }

  replace(place: Uint8Array, offer: Uint8Array, expiresMs: number, nowMs: number): boolean {
    for (const [key, { expiresMs }] of this.#links) if (expiresMs <= nowMs) this.#links.delete(key);
    if (!this.#links.has(place.toHex()) && this.#links.size >= LINKS_MAX) return false;
    this.#links.set(place.toHex(), { offer, grant: undefined, expiresMs });
    return true;
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
