/** Questions to a server outside any session: which key does it hold, and is a name taken? Nothing is kept of the answers. */
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { type DialedServer, type DialServer, dialUdp } from "./dialer.ts";
import { TimedOutError } from "../errors.ts";
import { asFastChatError } from "./link.ts";
import { ServerRefusal } from "./failures.ts";
import { Remote } from "./remote.ts";
import { formatServerAddress, type ServerAddress } from "./server_address.ts";

export interface EnquiryOptions {
  readonly server: ServerAddress;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly dial?: DialServer | undefined;
}

/**
 * The key that a server proves to hold now, whatever is pinned.
 *
 * @returns SHA-256 of it, 32 bytes.
 * @throws CannotReachError, KeyMismatchError, TimedOutError, or the signal's reason.
 */
export function provenFingerprint(options: EnquiryOptions): Promise<Uint8Array> {
  return enquire(options, ({ channel, fingerprint }) => {
    channel.close(CloseCode.none, "");
    return Promise.resolve(fingerprint);
  });
}

/**
 * Whether somebody has signed up with that name.
 *
 * @throws As {@linkcode provenFingerprint}, and RefusedError (sign-up is closed).
 */
export function isNameTaken(name: UserName, options: EnquiryOptions): Promise<boolean> {
  return enquire(options, async ({ channel }, signal) => {
    const remote = new Remote(channel, { onEvent: () => {}, onClose: () => {} });
    try {
      await remote.ask<"stretch">({ type: "stretch", name, purpose: PURPOSE_REGISTER }, signal);
      return false;
    } catch (error) {
      if (error instanceof ServerRefusal && error.code === ErrorCode.nameTaken) return true;
      throw error;
    } finally {
      remote.close(CloseCode.none, "");
    }
  });
}

async function enquire<T>(
  { server, timeoutMs, signal, dial = dialUdp }: EnquiryOptions,
  use: (dialed: DialedServer, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const either = signal ? AbortSignal.any([deadline, signal]) : deadline;
  try {
    const dialed = await dial({
      address: server,
      expected: server.fingerprint,
      excluded: [],
      remembered: undefined,
      // A little less, so that what it says of a failure is heard.
      timeoutMs: Math.max(1, timeoutMs - LAST_WORD_MS),
      signal: either,
    });
    const answer = await use(dialed, either);
    await dialed.ended;
    return answer;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (!deadline.aborted) throw asFastChatError(error);
    throw new TimedOutError(`${formatServerAddress(server)} did not answer within ${timeoutMs / 1000} s`);
  }
}

/** PROTOCOL.md §7: what a sign-up asks; it is refused for a taken name. */
const PURPOSE_REGISTER = 1;
const LAST_WORD_MS = 100;
