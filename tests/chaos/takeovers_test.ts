import assert from "node:assert/strict";
import { type LogLine, takeovers } from "./takeovers.ts";

/** Server 0 leads, 1 and 2 follow; all are ready at 100. */
const BEGIN: LogLine[] = [
  ...[0, 1, 2].flatMap((server) => [line(server, 50, "starting"), line(server, 100, "ready")]),
];

function line(server: number, atMs: number, event: string, fields: Record<string, unknown> = {}): LogLine {
  return { server, atMs, event, fields };
}

Deno.test("takeovers() tells when the others knew, when one led and when the last followed", () => {
  const lines = [
    ...BEGIN,
    line(1, 1_012, "store.leader-lost"),
    line(2, 1_015, "store.leader-lost"),
    line(2, 1_040, "store.leading", { leadership: 2, openMs: 9 }),
    line(1, 1_060, "store.following", { leadership: 2 }),
    // The one that died is started again: nobody waits for it.
    line(0, 1_400, "starting"),
    line(0, 1_450, "store.following", { leadership: 2 }),
    line(0, 1_460, "ready"),
  ];
  assert.deepEqual(takeovers(lines, [1_000]), [
    { killedMs: 1_000, noticedMs: 12, leadsMs: 40, openMs: 9, followMs: 60, isCold: false },
  ]);
});

Deno.test("takeovers() of a leader that dies while others take over from the one before are each one's own", () => {
  const lines = [
    ...BEGIN,
    line(1, 1_010, "store.leader-lost"),
    line(1, 1_030, "store.leading", { leadership: 2, openMs: 5 }),
    line(2, 1_055, "store.following", { leadership: 2 }),
    line(2, 1_110, "store.leader-lost"),
    line(2, 1_150, "store.leading", { leadership: 3, openMs: 6 }),
  ];
  assert.deepEqual(takeovers(lines, [1_000, 1_100]), [
    { killedMs: 1_000, noticedMs: 10, leadsMs: 30, openMs: 5, followMs: 55, isCold: false },
    { killedMs: 1_100, noticedMs: 10, leadsMs: 50, openMs: 6, followMs: undefined, isCold: false },
  ]);
});

Deno.test("takeovers() calls it a cold start where nobody who served lived to lead", () => {
  const lines = [
    ...BEGIN,
    line(1, 1_300, "starting"),
    line(1, 1_380, "store.leading", { leadership: 2, openMs: 12 }),
    line(1, 1_400, "ready"),
    // Of a later kill.
    line(2, 5_000, "store.leader-lost"),
  ];
  const [takeover, never] = takeovers(lines, [1_000, 9_000]);
  assert.deepEqual(takeover, {
    killedMs: 1_000,
    noticedMs: undefined,
    leadsMs: 380,
    openMs: 12,
    followMs: undefined,
    isCold: true,
  });
  assert.equal(never!.leadsMs, undefined);
  assert.ok(never!.isCold);
});
