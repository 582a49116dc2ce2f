/** What a congestion controller is told, and the one thing it decides: how many bytes may be in flight. */

export interface Controller {
  /** Bytes that may be in flight now. */
  readonly windowBytes: number;
  /**
   * A packet was acknowledged.
   *
   * @param appLimited The application, not the window, kept us from sending more: then an ack proves nothing about the path.
   */
  onAcked(bytes: number, sentUs: number, appLimited: boolean, nowUs: number): void;
  /** A round trip was measured; the peer's delay is not in it. */
  onRtt?(sampleUs: number): void;
  /**
   * Packets were lost together.
   *
   * @param newestSentUs When the newest of them had been sent.
   * @param backlogBytes How much of what is in flight waits in queues, by the round-trip times; unknown by default.
   */
  onLost(newestSentUs: number, nowUs: number, backlogBytes?: number): void;
  /** All the losses for which the window was last reduced were none: the packets only came late. */
  onSpurious(): void;
  /** Everything was lost for so long that the path must have changed (RFC 9002 §7.6). */
  onPersistentCongestion(): void;
  /** Another path: start as on a new connection (RFC 9000 §9.4). */
  reset(): void;
}
