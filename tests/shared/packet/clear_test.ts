import assert from "node:assert/strict";
import fc from "fast-check";
import {
  ACCEPT_HEADER_BYTES,
  type AcceptBody,
  decodeAcceptBody,
  decodeAcceptHeader,
  decodeInitial,
  decodeLocate,
  decodeLocated,
  decodeRetry,
  encodeAcceptBody,
  encodeAcceptHeader,
  encodeInitial,
  encodeLocate,
  encodeLocated,
  encodeRetry,
  initialVersion,
} from "../../../shared/packet/mod.ts";

const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(model, { noNullPrototype: true });
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const upTo = (maxLength: number) => fc.uint8Array({ maxLength });
const u8 = fc.integer({ min: 0, max: 0xff }), u16 = fc.integer({ min: 0, max: 0xffff });
const versions = fc.array(u16, { minLength: 1, maxLength: 16 });
const host = fc.stringMatching(/^[\x21-\x7e]{0,60}$/);

const locate = record({ version: u16, nonce: bytes(16), versions, excluded: fc.array(u8, { maxLength: 255 }) });
const located = record({
  version: u16,
  nonce: bytes(16),
  clusterId: bytes(16),
  versions,
  serverNumber: u8,
  host,
  port: u16,
  token: upTo(255),
  clusterKey: upTo(422),
});
const initial = record({
  version: u16,
  versions,
  token: upTo(255),
  clientEphemeral: bytes(32),
  keyKind: fc.constantFrom(0 as const, 1 as const),
  key: upTo(800),
});
const retry = record({
  version: u16,
  echo: bytes(16),
  reason: fc.constantFrom(1 as const, 2 as const, 3 as const, 4 as const),
  versions,
  token: upTo(23),
});
const acceptHeader = record({ version: u16, echo: bytes(16), connectionId: bytes(8), serverEphemeral: bytes(32) });
const window = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const acceptBody: fc.Arbitrary<AcceptBody> = record({
  versions,
  resetToken: bytes(16),
  idleTimeoutSeconds: u16,
  connectionWindowBytes: window,
  streamWindowBytes: window,
  streamsOpenMax: window,
  token: upTo(40),
  servers: fc.array(record({ number: u8, host: fc.stringMatching(/^[a-z0-9.]{0,15}$/), port: u16 }), {
    maxLength: 20,
  }),
  ticket: upTo(400),
});

/** One line per packet: its values, its encoder, its decoder, and whether all bytes up to the end are its own. */
const packets = {
  LOCATE: [locate, encodeLocate, decodeLocate],
  LOCATED: [located, encodeLocated, decodeLocated],
  INITIAL: [initial, encodeInitial, decodeInitial],
  RETRY: [retry, encodeRetry, decodeRetry],
  "ACCEPT's sealed part": [acceptBody, encodeAcceptBody, decodeAcceptBody],
} as unknown as Record<
  string,
  [fc.Arbitrary<object>, (value: object) => Uint8Array, (bytes: Uint8Array) => object | undefined]
>;

for (const [name, [values, encode, decode]] of Object.entries(packets)) {
  Deno.test(`${name} round-trips within one datagram`, () => {
    fc.assert(fc.property(values, (value) => {
      const encoded = encode(value);
      assert.ok(encoded.length <= 1200);
      assert.deepEqual(decode(encoded), value);
    }));
  });

  Deno.test(`${name}: truncations and a trailing byte are refused`, () => {
    fc.assert(
      fc.property(values, (value) => {
        const encoded = encode(value);
        for (let end = 0; end < encoded.length; end++) assert.equal(decode(encoded.slice(0, end)), undefined, `${end}`);
        assert.equal(decode(new Uint8Array([...encoded, 0])), undefined);
      }),
      { numRuns: 20 },
    );
  });

  Deno.test(`${name}: flipped and random bytes never throw, and what they give encodes again`, () => {
    const survives = (input: Uint8Array) => {
      const value = decode(input);
      if (value) assert.deepEqual(decode(encode(value)), value);
    };
    fc.assert(fc.property(values, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, mask) => {
      const encoded = encode(value);
      encoded[at % Math.min(encoded.length, 120)]! ^= mask;
      survives(encoded);
    }));
    fc.assert(fc.property(u8, upTo(100), (type, tail) => {
      survives(new Uint8Array([type % 8, ...tail]));
      const full = new Uint8Array(1200);
      full.set([type % 8, ...tail]);
      survives(full);
    }));
  });
}

Deno.test("ACCEPT's header round-trips in front of a sealed part, which it does not look at", () => {
  fc.assert(fc.property(acceptHeader, fc.uint8Array({ minLength: 16, maxLength: 500 }), (header, sealed) => {
    const encoded = encodeAcceptHeader(header);
    assert.equal(encoded.length, ACCEPT_HEADER_BYTES);
    assert.deepEqual(decodeAcceptHeader(new Uint8Array([...encoded, ...sealed])), header);
    assert.equal(decodeAcceptHeader(new Uint8Array([...encoded, ...sealed.subarray(0, 15)])), undefined);
    assert.equal(decodeAcceptHeader(new Uint8Array([...encoded, ...new Uint8Array(1200)])), undefined);
  }));
});

Deno.test("layouts are those of docs/PROTOCOL.md §2", () => {
  const fill = (length: number, value: number) => new Uint8Array(length).fill(value);
  const hex = (length: number, value: number) => fill(length, value).toHex();
  assert.equal(
    encodeLocate({ version: 1, nonce: fill(16, 0xaa), versions: [2, 1], excluded: [7] }).toHex(),
    "01" + "0001" + hex(16, 0xaa) + "02" + "00020001" + "01" + "07" + hex(1200 - 26, 0),
  );
  assert.equal(
    encodeLocated({
      version: 1,
      nonce: fill(16, 0xaa),
      clusterId: fill(16, 0xbb),
      versions: [1],
      serverNumber: 3,
      host: "a.b",
      port: 9001,
      token: fill(2, 0xcc),
      clusterKey: fill(3, 0xdd),
    }).toHex(),
    "02" + "0001" + hex(16, 0xaa) + hex(16, 0xbb) + "01" + "0001" + "03" + "03612e62" + "2329" + "02cccc" +
      "0003dddddd",
  );
  assert.equal(
    encodeInitial({
      version: 1,
      versions: [1],
      token: fill(1, 0xcc),
      clientEphemeral: fill(32, 0xee),
      keyKind: 0,
      key: fill(384, 0xdd),
    }).toHex(),
    "03" + "0001" + "010001" + "01cc" + hex(32, 0xee) + "00" + "0180" + hex(384, 0xdd) + hex(1200 - 427, 0),
  );
  assert.equal(
    encodeRetry({ version: 1, echo: fill(16, 0xaa), reason: 2, versions: [2, 1], token: fill(1, 0xcc) }).toHex(),
    "04" + "0001" + hex(16, 0xaa) + "02" + "0200020001" + "01cc",
  );
  assert.equal(
    encodeAcceptHeader({ version: 1, echo: fill(16, 1), connectionId: fill(8, 2), serverEphemeral: fill(32, 3) })
      .toHex(),
    "05" + "0001" + hex(16, 1) + hex(8, 2) + hex(32, 3),
  );
  assert.equal(
    encodeAcceptBody({
      versions: [1],
      resetToken: fill(16, 4),
      idleTimeoutSeconds: 60,
      connectionWindowBytes: 1 << 20,
      streamWindowBytes: 1 << 10,
      streamsOpenMax: 5,
      token: fill(1, 6),
      servers: [{ number: 1, host: "", port: 9001 }],
      ticket: fill(0, 0),
    }).toHex(),
    "010001" + hex(16, 4) + "003c" + "80100000" + "4400" + "05" + "0106" + "01" + "01002329" + "0000",
  );
});

Deno.test("encodeAcceptBody() leaves out servers that no longer fit the datagram", () => {
  const servers = Array.from(
    { length: 128 },
    (_, number) => ({ number, host: "server.example.net", port: 9001 + number }),
  );
  const body: AcceptBody = {
    versions: [1],
    resetToken: new Uint8Array(16),
    idleTimeoutSeconds: 60,
    connectionWindowBytes: 1,
    streamWindowBytes: 1,
    streamsOpenMax: 1,
    token: new Uint8Array(23),
    servers,
    ticket: new Uint8Array(300),
  };
  const decoded = decodeAcceptBody(encodeAcceptBody(body))!;
  assert.ok(decoded.servers.length > 20 && decoded.servers.length < 128);
  assert.deepEqual(decoded.servers, servers.slice(0, decoded.servers.length));
  assert.equal(decoded.ticket.length, 300);
  const short = decodeAcceptBody(encodeAcceptBody({ ...body, servers: servers.map((one) => ({ ...one, host: "" })) }))!;
  assert.equal(short.servers.length, 128, "without hosts all of them fit");
});

Deno.test("decoding refuses no versions, 17 of them, unknown kinds and reasons, and hosts with control characters", () => {
  const nonce = new Uint8Array(16);
  const good = encodeLocate({ version: 1, nonce, versions: [1], excluded: [] });
  for (const count of [0, 17]) {
    const bad = good.slice();
    bad[19] = count;
    assert.equal(decodeLocate(bad), undefined);
  }
  const badRetry = encodeRetry({ version: 1, echo: nonce, reason: 1, versions: [1], token: nonce });
  for (const reason of [0, 5]) {
    badRetry[19] = reason;
    assert.equal(decodeRetry(badRetry), undefined);
  }
  const answer = encodeLocated({
    version: 1,
    nonce,
    clusterId: nonce,
    versions: [1],
    serverNumber: 0,
    host: "ab",
    port: 1,
    token: nonce,
    clusterKey: nonce,
  });
  for (const byte of [0x00, 0x1b, 0x20, 0x7f, 0xe9]) {
    const bad = answer.slice();
    bad[41] = byte;
    assert.equal(decodeLocated(bad), undefined, `${byte}`);
  }
});

Deno.test("initialVersion() reads no more than size, type and version", () => {
  const packet = new Uint8Array(1200).fill(0xff);
  packet.set([3, 0x12, 0x34]);
  assert.equal(initialVersion(packet), 0x1234);
  assert.equal(initialVersion(packet.subarray(1)), undefined);
  packet[0] = 1;
  assert.equal(initialVersion(packet), undefined);
});
