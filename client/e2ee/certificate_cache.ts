/** Certificates already judged, with their imported keys: verifying one costs an RSA operation and two imports. */
import { type CertificateVerdict, sha256, verifyCertificate } from "../../shared/crypto/mod.ts";

export class CertificateCache {
  readonly #clusterId: Uint8Array;
  readonly #verdicts = new Map<string, Promise<CertificateVerdict>>();

  /** @param clusterId 16 bytes: certificates of other clusters are refused. */
  constructor(clusterId: Uint8Array) {
    this.#clusterId = new Uint8Array(clusterId);
  }

  /** The verdict on these exact bytes, apart from validity in time, which changes. */
  verify(certificate: Uint8Array): Promise<CertificateVerdict> {
    const key = sha256(certificate).toHex();
    let verdict = this.#verdicts.get(key);
    if (verdict === undefined) {
      if (this.#verdicts.size >= VERDICTS_MAX) this.#verdicts.delete(this.#verdicts.keys().next().value!);
      verdict = verifyCertificate(certificate, { clusterId: this.#clusterId });
      this.#verdicts.set(key, verdict);
    }
    return verdict;
  }
}

/** Some 5 kB each. The oldest is forgotten and judged again when it is needed. */
const VERDICTS_MAX = 2_048;
