/**
 * The way to a home's server: whoever is reached has to prove that it holds the cluster's key that this home knows, and where it
 * knows none, that key is kept from now on and told (SECURITY H5). Comes back by ticket where there is one.
 */
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import { CloseCode } from "../../shared/errors.ts";
import { KeyMismatchError } from "../../shared/net/mod.ts";
import type { DialServer } from "./dialer.ts";
import type { NoticeEvent } from "../events.ts";
import type { KnownServers } from "./known_servers.ts";
import type { Dialed, DialOptions } from "./link.ts";
import { formatServerAddress, type ServerAddress } from "./server_address.ts";
import type { TicketPurse } from "./tickets.ts";

export interface PinnedDialerOptions {
  readonly address: ServerAddress;
  readonly servers: KnownServers;
  readonly tickets: TicketPurse;
  readonly dial: DialServer;
  /** Where the account is, in a home that has one. */
  home(): ServerAddress | undefined;
  /** Whether a ticket would do for who this is. */
  mayResume(): boolean;
  onNotice(notice: NoticeEvent): void;
}

export class PinnedDialer {
  readonly #options: PinnedDialerOptions;
  #fingerprint: Uint8Array = new Uint8Array(32);

  constructor(options: PinnedDialerOptions) {
    this.#options = options;
  }

  /** SHA-256 of the key that the cluster proved to hold, 32 bytes; zeros before it did. */
  get fingerprint(): Uint8Array {
    return this.#fingerprint;
  }

  /** @throws KeyChangedError, and what {@linkcode DialServer} throws. */
  async dial(asked: DialOptions): Promise<Dialed> {
    const { servers, address, tickets, mayResume, dial } = this.#options, home = this.#options.home();
    const expected = servers.expected(address, home), remembered = servers.remembered(address);
    const ticket = expected && mayResume() ? tickets.take() : undefined;
    const dialed = await dial({ ...asked, address, expected, remembered, ticket }).catch((error) => {
      throw error instanceof KeyMismatchError ? servers.refuse(address, error.offeredFingerprint, home) : error;
    });
    tickets.spent();
    try {
      this.#fingerprint = dialed.fingerprint;
      if (servers.accept(address, dialed.fingerprint, home) === "pinned") this.#noticePinned();
      if (dialed.remember) servers.remember(address, dialed.remember);
    } catch (error) {
      dialed.channel.close(CloseCode.none, "");
      throw error;
    }
    return dialed;
  }

  #noticePinned(): void {
    const { address, onNotice } = this.#options, name = formatServerAddress(address);
    const fingerprint = formatFingerprint(this.#fingerprint);
    const text = address.fingerprint
      ? `First contact with ${name}: it holds the key you named, ${fingerprint}`
      : `First contact with ${name}, whose key is ${fingerprint}: compare it with the one that its balancer printed`;
    onNotice({ type: "notice", code: "server-pinned", name, text });
  }
}
