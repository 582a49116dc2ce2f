/** One hash over everything both sides have seen (docs/PROTOCOL.md §4, SECURITY H1). */
import { assert } from "../assert.ts";
import { Writer } from "../codec/mod.ts";
import { DATAGRAM_BYTES } from "../limits.ts";
import type { Primitives } from "../primitives.ts";

export interface Transcript {
  /** As the client sent them. */
  readonly versionsOffered: readonly number[];
  readonly versionChosen: number;
  /** SPKI DER: a client that pinned another key computes another transcript and opens nothing. */
  readonly clusterKey: Uint8Array;
  /** The whole datagram with its token and padding: 1,200 bytes. */
  readonly initial: Uint8Array;
  /** 8 bytes. */
  readonly connectionId: Uint8Array;
  /** 32 bytes. */
  readonly serverEphemeral: Uint8Array;
}

/** 32 bytes. */
export function transcriptHash(primitives: Primitives, transcript: Transcript): Uint8Array {
  assert(transcript.initial.length === DATAGRAM_BYTES, "An INITIAL is a full datagram");
  const versions = new Writer(64);
  versions.u8(transcript.versionsOffered.length);
  for (const version of transcript.versionsOffered) versions.u16(version);
  versions.u16(transcript.versionChosen);
  return primitives.sha256(
    LABEL,
    versions.view(),
    primitives.sha256(transcript.clusterKey),
    transcript.initial,
    transcript.connectionId,
    transcript.serverEphemeral,
  );
}

const LABEL = new TextEncoder().encode("fastchat/transcript/1");
