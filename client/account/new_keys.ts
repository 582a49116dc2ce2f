/** Keys for somebody who has none in this home: made once, however often the connection is lost meanwhile. */
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { DeviceKeys, Identity } from "../e2ee/mod.ts";

export class NewKeys {
  readonly #credentials: Credentials;
  #identity: Promise<Identity> | undefined;
  #device: Promise<DeviceKeys> | undefined;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /** @param pending A sign-up that was cut off: it goes on with the identity that it has left here. */
  async identity(pending: Account | undefined, password: string): Promise<Identity> {
    const kept = pending && await this.#credentials.identity(password);
    return kept ?? await (this.#identity ??= Identity.generate());
  }

  /** Those of this home, where it has some that can be read. */
  async device(): Promise<DeviceKeys> {
    const { vault } = this.#credentials;
    const kept = vault.isLocked ? undefined : await this.#credentials.deviceKeys();
    return kept ?? await (this.#device ??= DeviceKeys.generate());
  }
}
