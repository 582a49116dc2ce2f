/** A question to a server by somebody who is nobody there yet: does it answer, and is a name taken? */
import { CloseCode, ErrorCode, RequestError } from "../shared/errors.ts";
import type { UserName } from "../shared/protocol/mod.ts";
import { type DialServer, dialUdp } from "./dialer.ts";
import { TimedOutError } from "./errors.ts";
import { asFastChatError } from "./link.ts";
import { Remote } from "./remote.ts";
import { formatServerAddress, type ServerAddress } from "./server_address.ts";

export interface EnquiryOptions {
  readonly server: ServerAddress;
  readonly name: UserName;
  readonly timeoutMs: number;
  readonly dial?: DialServer;
}

/**
 * Whether somebody has signed up with that name. Nothing is kept of it: no home, no pin.
 *
 * @throws CannotReachError, RefusedError (sign-up is closed), TimedOutError.
 */
export async function isNameTaken({ server, name, timeoutMs, dial = dialUdp }: EnquiryOptions): Promise<boolean> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const { channel, ended } = await dial({
      address: server,
      expected: server.fingerprint,
      excluded: [],
      remembered: undefined,
      timeoutMs,
      signal,
    });
    const remote = new Remote(channel, { onEvent: () => {}, onClose: () => {} });
    try {
      await remote.ask<"stretch">({ type: "stretch", name, purpose: PURPOSE_REGISTER }, signal);
      return false;
    } finally {
      remote.close(CloseCode.none, "");
      await ended;
    }
  } catch (error) {
    if (error instanceof RequestError && error.code === ErrorCode.nameTaken) return true;
    if (signal.aborted) {
      throw new TimedOutError(`${formatServerAddress(server)} did not answer within ${timeoutMs / 1000} s`);
    }
    throw asFastChatError(error);
  }
}

/** As in PROTOCOL.md §7: a sign-up's stretching is refused for a taken name. */
const PURPOSE_REGISTER = 1;
