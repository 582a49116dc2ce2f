/**
 * What does end-to-end encryption cost a client? A 200-byte text sealed for 1, 2, 4 and 8 devices and opened by one of them:
 * RSA-3072 OAEP for each device, one AEAD, one Ed25519 signature. One thread waits for each; WebCrypto works on others.
 */
import {
  Ed25519KeyPair,
  generateRsaPkcs8,
  importOaepPrivate,
  importOaepPublic,
  NO_PREVIOUS,
  openEnvelope,
  readEnvelope,
  sealEnvelope,
  spkiFromPkcs8,
} from "../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, MessageId } from "../shared/protocol/mod.ts";
import { measureChanges, measureMls } from "./mls.ts";
import { percentile, report, type Row } from "./report.ts";

const ROUNDS = 200;

if (import.meta.main) {
  const pkcs8 = await generateRsaPkcs8();
  const envelopePrivate = await importOaepPrivate(pkcs8);
  const envelopeKey = await importOaepPublic(await spkiFromPkcs8(pkcs8));
  const rows: Row[] = [];
  for (const count of [1, 2, 4, 8]) rows.push(await measure(count, envelopeKey, envelopePrivate));
  report(rows);
  // What takes its place: groups, with columns of their own.
  report(await measureMls());
  report([...await measureChanges("x-wing"), ...await measureChanges("x25519")]);
}

async function measure(count: number, envelopeKey: CryptoKey, envelopePrivate: CryptoKey): Promise<Row> {
  const leaf = Ed25519KeyPair.generate();
  const clusterId = new Uint8Array(16), identity = new Uint8Array(32), sender = id<DeviceId>(0);
  const conversation = id<ConversationId>(1);
  const devices = Array.from({ length: count }, (_, i) => ({ id: id<DeviceId>(i + 1), envelopeKey }));
  const sealMs: number[] = [], openMs: number[] = [];
  let bodyBytes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const begin = performance.now();
    const body = await sealEnvelope({
      clusterId,
      sender: { identity, device: sender, leaf },
      recipientIdentity: identity,
      devices,
      conversation,
      messageId: id<MessageId>(round),
      counter: round + 1,
      previous: NO_PREVIOUS,
      timeMs: 0,
      text: "x".repeat(200),
    });
    const sealed = performance.now();
    const read = readEnvelope(body);
    if (!read.ok) throw new Error(read.reason);
    const opened = await openEnvelope({
      envelope: read.envelope,
      clusterId,
      conversation,
      own: { identity, device: devices[0]!.id, envelopePrivate },
      sender: { identity, device: sender, leafKey: leaf.publicKey },
    });
    if (!opened.ok) throw new Error(opened.reason);
    sealMs.push(sealed - begin);
    openMs.push(performance.now() - sealed);
    bodyBytes = body.length;
  }
  return {
    bench: "e2ee",
    subject: `${count} device${count > 1 ? "s" : ""}`,
    sealMsP50: percentile(sealMs, 0.5),
    openMsP50: percentile(openMs, 0.5),
    bodyBytes,
  };
}

function id<T extends string>(index: number): T {
  return index.toString(16).padStart(32, "0") as T;
}
