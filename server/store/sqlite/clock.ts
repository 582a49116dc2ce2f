/** The latest time anybody told the store: what sessions and retention go by. It has no clock of its own. */
export class StoreClock {
  /** Milliseconds since 1970; 0 before anybody told. */
  nowMs = 0;

  heard(nowMs: number): void {
    this.nowMs = Math.max(this.nowMs, nowMs);
  }
}
