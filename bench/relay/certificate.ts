/** A certificate for the benches' TLS and QUIC servers, made anew for every run: RSA-3072, as our own handshake has. */
import forge from "node-forge";
import { generateRsaPkcs8 } from "../../shared/crypto/mod.ts";

export interface Certificate {
  /** PEM, PKCS#8. */
  readonly key: string;
  /** PEM; signed by itself, so it is its own authority. */
  readonly cert: string;
}

/** What clients call the server, whatever its address is. */
export const SERVER_NAME = "localhost";

export async function makeTlsCertificate(): Promise<Certificate> {
  const key = pem("PRIVATE KEY", await generateRsaPkcs8());
  const privateKey = forge.pki.privateKeyFromPem(key);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.setRsaPublicKey(privateKey.n, privateKey.e);
  certificate.serialNumber = "01";
  certificate.validity.notBefore = new Date(Date.now() - DAY_MS);
  certificate.validity.notAfter = new Date(Date.now() + DAY_MS);
  const name = [{ name: "commonName", value: SERVER_NAME }];
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.setExtensions([{ name: "subjectAltName", altNames: [{ type: 2, value: SERVER_NAME }] }]);
  certificate.sign(privateKey, forge.md.sha256.create());
  return { key, cert: forge.pki.certificateToPem(certificate) };
}

function pem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g)!.join("\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

const DAY_MS = 86_400_000;
