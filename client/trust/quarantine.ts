/** Who may be given history, and from when on (SECURITY P9). */
import type { KeyHistory } from "../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../shared/protocol/mod.ts";

/** What it needs of the key log. */
export interface SeenKeys {
  history(user: UserName): KeyHistory | undefined;
  /** When this home first saw an entry, by its own clock. */
  seenMs(number: number): number | undefined;
}

/**
 * From when on a device may be given history, in milliseconds since 1970: 0 for one that was linked, approved, or its user's first.
 * One that was certified by the password alone waits a day, so that there is time to see it; `undefined` for what is nobody's
 * device, or not any longer.
 */
export function historyFromMs(keys: SeenKeys, user: UserName, device: DeviceId): number | undefined {
  const known = keys.history(user)?.devices.get(device);
  if (known === undefined || known.endedAt !== undefined) return undefined;
  if (known.approvedAt !== undefined) return 0;
  const seenMs = keys.seenMs(known.since);
  return seenMs === undefined ? undefined : seenMs + QUARANTINE_MS;
}

export const QUARANTINE_MS = 24 * 3600 * 1000;
