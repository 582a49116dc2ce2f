import assert from "node:assert/strict";
import { compareSync, hashSync } from "bcryptjs";
import fc from "fast-check";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { dummyHash, type LoginSecret, parseLoginSecret, PasswordPool } from "../../server/password_pool.ts";
import type { PasswordAnswer, PasswordJob } from "../../server/password_worker.ts";

const SECRET = parseLoginSecret("A".repeat(43))!;
const OTHER = parseLoginSecret("A".repeat(42) + "B")!;
const stranger = { address: "192.0.2.1", proven: false };

/** A platform's Worker that the test answers for. */
class FakeWorker {
  static all: FakeWorker[] = [];
  onmessage: ((event: { data: PasswordAnswer }) => void) | null = null;
  onerror: ((event: { message: string; preventDefault(): void }) => void) | null = null;
  job: PasswordJob | undefined;
  terminated = false;
  constructor() {
    FakeWorker.all.push(this);
  }
  postMessage(job: PasswordJob): void {
    assert.equal(this.job, undefined, "One job at a time");
    this.job = job;
  }
  answer(answer: PasswordAnswer): void {
    this.job = undefined;
    this.onmessage!({ data: answer });
  }
  die(): void {
    this.job = undefined;
    this.onerror!({ message: "out of memory", preventDefault() {} });
  }
  terminate(): void {
    this.terminated = true;
  }
}

function fakePool(options: { size?: number; queuedMax?: number; queuedPerAddressMax?: number } = {}) {
  FakeWorker.all = [];
  const pool = new PasswordPool({ ...options, startWorker: () => new FakeWorker() as unknown as Worker });
  return { pool, workers: FakeWorker.all };
}

const isBusy = (error: unknown) =>
  error instanceof RequestError && error.code === ErrorCode.busy && error.retryAfterMs > 0;

Deno.test("PasswordPool hashes and compares in real Workers", async () => {
  const pool = new PasswordPool({ cost: 4, size: 2 });
  try {
    const hash = await pool.hash(SECRET, stranger);
    assert.match(hash, /^\$2b\$04\$/);
    const answers = await Promise.all([
      pool.matches(SECRET, hash, stranger),
      pool.matches(OTHER, hash, stranger),
      pool.matches(SECRET, dummyHash(4), stranger),
    ]);
    assert.deepEqual(answers, [true, false, false]);
    assert.equal(pool.runs, 4);
    assert.equal(await pool.matches(SECRET, "no hash", stranger), false);
  } finally {
    pool.close();
  }
});

Deno.test("PasswordPool starts Workers when they are needed, and not more than its size", async () => {
  const { pool, workers } = fakePool({ size: 2 });
  assert.equal(workers.length, 0);
  const jobs = [1, 2, 3].map(() => pool.matches(SECRET, "h", stranger));
  assert.equal(workers.length, 2);
  assert.equal(pool.queued, 1);
  workers[0]!.answer({ matches: true });
  workers[1]!.answer({ matches: false });
  workers[0]!.answer({ matches: true });
  assert.deepEqual(await Promise.all(jobs), [true, false, true]);
  pool.close();
  assert(workers.every((worker) => worker.terminated));
});

Deno.test("PasswordPool answers busy when its queue is full, in all and for one address", async () => {
  const { pool } = fakePool({ size: 1, queuedMax: 5, queuedPerAddressMax: 3 });
  const waiting = [1, 2, 3, 4].map(() => pool.matches(SECRET, "h", stranger));
  await assert.rejects(pool.matches(SECRET, "h", stranger), isBusy);
  waiting.push(...[1, 2].map((i) => pool.matches(SECRET, "h", { address: `198.51.100.${i}`, proven: false })));
  await assert.rejects(pool.matches(SECRET, "h", { address: "203.0.113.1", proven: false }), isBusy);
  assert.equal(pool.refused, 2);
  pool.close();
  for (const result of await Promise.allSettled(waiting)) assert.equal(result.status, "rejected");
});

Deno.test("PasswordPool serves a device that proved itself before strangers, and when their queue is full", async () => {
  const { pool, workers } = fakePool({ size: 1, queuedMax: 2, queuedPerAddressMax: 2 });
  const order: string[] = [];
  const strangers = [1, 2, 3].map((i) => pool.matches(SECRET, "h", stranger).then(() => order.push(`stranger ${i}`)));
  const proven = pool.matches(SECRET, "h", { ...stranger, proven: true }).then(() => order.push("proven"));
  for (let i = 0; i < 4; i++) {
    workers[0]!.answer({ matches: true });
    await Promise.resolve().then(() => {}).then(() => {}).then(() => {});
  }
  await Promise.all([...strangers, proven]);
  assert.deepEqual(order, ["stranger 1", "proven", "stranger 2", "stranger 3"]);
  pool.close();
});

Deno.test("PasswordPool frees an address's places as its jobs are taken up", async () => {
  const { pool, workers } = fakePool({ size: 1, queuedMax: 100, queuedPerAddressMax: 1 });
  for (let i = 0; i < 20; i++) {
    const first = pool.matches(SECRET, "h", stranger), second = pool.matches(SECRET, "h", stranger);
    await assert.rejects(pool.matches(SECRET, "h", stranger), isBusy);
    workers[0]!.answer({ matches: true });
    workers[0]!.answer({ matches: true });
    await Promise.all([first, second]);
  }
  pool.close();
});

Deno.test("PasswordPool replaces a Worker that dies, does its job once more, and then refuses it", async () => {
  const { pool, workers } = fakePool({ size: 1 });
  const lucky = pool.matches(SECRET, "h", stranger);
  workers[0]!.die();
  assert.equal(workers.length, 2);
  assert(workers[0]!.terminated);
  workers[1]!.answer({ matches: true });
  assert.equal(await lucky, true);

  const poisonous = pool.matches(SECRET, "h", stranger), next = pool.matches(OTHER, "h", stranger);
  workers[1]!.die();
  workers[2]!.die();
  await assert.rejects(poisonous, (error) => error instanceof RequestError && error.code === ErrorCode.internal);
  workers[3]!.answer({ matches: true });
  assert.equal(await next, true);
  pool.close();
});

Deno.test("parseLoginSecret() takes 43 base64url characters and nothing else (P2)", () => {
  const character = fc.constantFrom(..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
  fc.assert(fc.property(fc.array(character, { minLength: 43, maxLength: 43 }), (characters) => {
    assert.equal(parseLoginSecret(characters.join("")), characters.join(""));
  }));
  const wrong = ["", "A".repeat(42), "A".repeat(44), "A".repeat(42) + "=", "A".repeat(42) + "+", "A".repeat(43) + "\n"];
  for (const text of [...wrong, "A".repeat(42) + "\0", "A".repeat(42) + "\u0080", "A".repeat(42) + "\ufffd"]) {
    assert.equal(parseLoginSecret(text), undefined, JSON.stringify(text));
  }
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
    const raw = new TextDecoder().decode(bytes);
    assert(parseLoginSecret(raw) === undefined || /^[A-Za-z0-9_-]{43}$/.test(raw));
  }));
});

Deno.test("bcrypt over login secrets: keys that differ in one bit never match, with NUL and high bytes too (P2)", () => {
  const toSecret = (key: Uint8Array): LoginSecret =>
    parseLoginSecret(key.toBase64({ alphabet: "base64url", omitPadding: true }))!;
  const keys = [
    new Uint8Array(32),
    new Uint8Array(32).fill(0x80),
    crypto.getRandomValues(new Uint8Array(32)),
  ];
  for (const key of keys) {
    const hash = hashSync(toSecret(key), 4);
    assert(compareSync(toSecret(key), hash));
    for (let bit = 0; bit < 256; bit++) {
      const other = key.slice();
      other[bit >>> 3]! ^= 1 << (bit & 7);
      assert(!compareSync(toSecret(other), hash), `bit ${bit}`);
    }
  }
});

Deno.test("dummyHash() is a hash that bcrypt works on and no secret has", () => {
  assert.equal(dummyHash(4).length, 60);
  assert.equal(compareSync("A".repeat(43), dummyHash(4)), false);
});
