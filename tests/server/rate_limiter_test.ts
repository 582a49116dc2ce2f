import assert from "node:assert/strict";
import fc from "fast-check";
import { addressKey, Bucket, Lockouts, TokenBuckets } from "../../server/rate_limiter.ts";

Deno.test("TokenBuckets.take() grants the burst, then the rate, each key by itself", () => {
  const buckets = new TokenBuckets({ ratePerSecond: 10, burst: 3 });
  assert.deepEqual([0, 0, 0].map(() => buckets.take("a", 0)), [0, 0, 0]);
  assert.equal(buckets.take("a", 0), 100);
  assert.equal(buckets.take("b", 0), 0);
  assert.equal(buckets.take("a", 99_000), 1);
  assert.equal(buckets.take("a", 100_000), 0);
  assert.equal(buckets.take("a", 100_000), 100);
});

Deno.test("Bucket.take() never grants more than burst + rate × time, and the wait it names suffices", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 500 }),
    fc.integer({ min: 1, max: 50 }),
    fc.array(fc.integer({ min: 0, max: 400_000 }), { minLength: 1, maxLength: 200 }),
    (ratePerSecond, burst, steps) => {
      const bucket = new Bucket({ ratePerSecond, burst }, 0);
      let nowUs = 0, granted = 0;
      for (const step of steps) {
        nowUs += step;
        const waitMs = bucket.take(nowUs);
        if (waitMs === 0) granted++;
        else {
          nowUs += waitMs * 1000;
          assert.equal(bucket.take(nowUs), 0);
          granted++;
        }
        assert(granted <= burst + nowUs / 1_000_000 * ratePerSecond + 1e-6);
      }
    },
  ));
});

Deno.test("TokenBuckets.take() with rate 0 knows no limit", () => {
  const buckets = new TokenBuckets({ ratePerSecond: 0, burst: 0 });
  for (let i = 0; i < 1000; i++) assert.equal(buckets.take("a", 0), 0);
  assert.equal(buckets.size, 0);
});

Deno.test("TokenBuckets keeps a bounded table and forgets who came longest ago", () => {
  const buckets = new TokenBuckets({ ratePerSecond: 1, burst: 1, keysMax: 3 });
  for (const key of ["a", "b", "c"]) assert.equal(buckets.take(key, 0), 0);
  assert.notEqual(buckets.take("a", 0), 0);
  assert.equal(buckets.take("d", 0), 0);
  assert.equal(buckets.size, 3);
  assert.notEqual(buckets.take("a", 0), 0, "a was used after b");
  assert.equal(buckets.take("b", 0), 0, "b was forgotten");
});

const FIVE = { triesFree: 5, delayMsFirst: 1000, delayMsMax: 60_000, forgetMs: 3_600_000 };

Deno.test("Lockouts.take() lets five go wrong, then doubles from a second up to the maximum", () => {
  const lockouts = new Lockouts(FIVE);
  let nowUs = 0;
  for (let i = 0; i < 5; i++) assert.equal(lockouts.take("k", nowUs), 0);
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    const wait = lockouts.take("k", nowUs);
    waits.push(wait);
    nowUs += wait * 1000;
    assert.equal(lockouts.take("k", nowUs), 0);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
});

Deno.test("Lockouts: asking while locked out prolongs nothing", () => {
  const lockouts = new Lockouts(FIVE);
  for (let i = 0; i < 5; i++) lockouts.take("k", 0);
  for (let i = 0; i < 100; i++) assert.equal(lockouts.take("k", 400_000), 600);
  assert.equal(lockouts.take("k", 1_000_000), 0);
});

Deno.test("Lockouts.clear() forgets, forgive() takes one back, an hour heals", () => {
  const lockouts = new Lockouts(FIVE);
  for (let i = 0; i < 5; i++) lockouts.take("k", 0);
  lockouts.clear("k");
  for (let i = 0; i < 5; i++) assert.equal(lockouts.take("k", 0), 0);
  lockouts.forgive("k", 0);
  assert.equal(lockouts.take("k", 0), 0, "the try that was not judged may be made again");
  assert.equal(lockouts.take("k", 0), 1000);
  for (let i = 0; i < 5; i++) assert.equal(lockouts.take("k", 3_601_000_000 + i), 0);
});

Deno.test("Lockouts: many tries at once gain nothing", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 3_000_000 }), { maxLength: 300 }), (steps) => {
    const lockouts = new Lockouts(FIVE);
    let nowUs = 0, taken = 0;
    for (const step of steps) {
      nowUs += step;
      if (lockouts.take("k", nowUs) === 0) taken++;
    }
    // The n-th try beyond the free ones needs 1 + 2 + … + 2^(n-1) seconds, a minute at most each.
    let possible = 5;
    for (let left = nowUs / 1e6, delay = 1; left >= delay; left -= delay, delay = Math.min(60, delay * 2)) possible++;
    assert(taken <= possible, `${taken} tries in ${nowUs} µs, ${possible} possible`);
  }));
});

Deno.test("addressKey() takes IPv4 as it is and IPv6 by its /64", () => {
  assert.equal(addressKey("192.0.2.7"), "192.0.2.7");
  const same = ["2001:db8:1:2::1", "2001:db8:1:2:ffff:eeee:dddd:cccc", "2001:0db8:0001:0002::", "2001:DB8:1:2::9"];
  assert.equal(new Set(same.map(addressKey)).size, 1);
  assert.equal(addressKey(same[0]!), "2001:db8:1:2::/64");
  assert.notEqual(addressKey("2001:db8:1:3::1"), addressKey("2001:db8:1:2::1"));
  assert.equal(addressKey("::1"), "0:0:0:0::/64");
  assert.equal(addressKey("fe80::1%eth0"), "fe80:0:0:0::/64");
  assert.equal(addressKey("2001:db8::1:2:3:4:5"), "2001:db8:0:1::/64");
});
