import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { decryptPem, encryptPem, PEM_ITERATIONS, pkcs8FromPem, pkcs8ToPem } from "../../../shared/crypto/mod.ts";
import { DecodeError } from "../../../shared/codec/mod.ts";
import { testKeys } from "../../keys.ts";

const PASSPHRASE = "grüße an 'openssl'";
const CHEAP = { testOnlyIterations: 10 };
const HAS_OPENSSL = await runs("openssl", ["version"]);

async function runs(command: string, args: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output()).success;
  } catch {
    return false;
  }
}

async function openssl(args: string[], input = ""): Promise<{ success: boolean; stdout: Uint8Array; stderr: string }> {
  const child = new Deno.Command("openssl", { args, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  return { success, stdout, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("decryptPem() opens what encryptPem() wrote, with the right passphrase only", async () => {
  const { alice } = await testKeys();
  const pem = await encryptPem({ pkcs8: alice.identity.pkcs8, passphrase: PASSPHRASE, ...CHEAP });
  assert.match(
    pem,
    /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n(?:[A-Za-z0-9+/=]{1,64}\n)+-----END ENCRYPTED PRIVATE KEY-----\n$/,
  );
  assert.deepEqual(await decryptPem(pem, PASSPHRASE), alice.identity.pkcs8);
  for (const wrong of ["", PASSPHRASE + " ", "something else"]) assert.equal(await decryptPem(pem, wrong), undefined);
});

Deno.test("encryptPem() stretches with 600,000 rounds unless a test asks for fewer", async () => {
  const { alice } = await testKeys();
  assert.equal(PEM_ITERATIONS, 600_000);
  const pem = await encryptPem({ pkcs8: alice.leaf.pkcs8, passphrase: PASSPHRASE });
  // INTEGER 600000 is 02 03 09 27 c0.
  const der = Uint8Array.fromBase64(pem.split("\n").slice(1, -2).join(""));
  assert.ok(der.toHex().includes("02030927c0"));
  assert.deepEqual(await decryptPem(pem, PASSPHRASE), alice.leaf.pkcs8);
});

Deno.test({
  name: "encryptPem() writes what the openssl command reads",
  ignore: !HAS_OPENSSL,
  fn: async () => {
    const { alice } = await testKeys();
    const pem = await encryptPem({ pkcs8: alice.identity.pkcs8, passphrase: PASSPHRASE });
    const right = await openssl(["pkey", "-passin", `pass:${PASSPHRASE}`, "-outform", "DER"], pem);
    assert.ok(right.success, right.stderr);
    const asOpensslHasIt = createPrivateKey({ key: alice.identity.pkcs8 as never, format: "der", type: "pkcs8" });
    const pkcs1 = asOpensslHasIt.export({ format: "der", type: "pkcs1" });
    assert.ok(right.stdout.toHex().includes(new Uint8Array(pkcs1).toHex()), "openssl has another key");
    assert.equal((await openssl(["pkey", "-passin", "pass:wrong"], pem)).success, false);
    const shape = await openssl(["asn1parse"], pem);
    const text = new TextDecoder().decode(shape.stdout);
    for (const word of ["PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", "0927C0"]) {
      assert.ok(text.includes(word), word);
    }
  },
});

Deno.test({
  name: "decryptPem() reads what the openssl command writes",
  ignore: !HAS_OPENSSL,
  fn: async () => {
    const { alice } = await testKeys();
    const args = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", "1000"];
    const written = await openssl([...args, "-passout", "pass:abc"], pkcs8ToPem(alice.identity.pkcs8));
    assert.ok(written.success, written.stderr);
    const pem = new TextDecoder().decode(written.stdout);
    assert.deepEqual(await decryptPem(pem, "abc"), alice.identity.pkcs8);
    assert.equal(await decryptPem(pem, "abd"), undefined);
  },
});

Deno.test("decryptPem() throws one typed error for what is no such file", async () => {
  const { alice } = await testKeys();
  const pem = await encryptPem({ pkcs8: alice.leaf.pkcs8, passphrase: "x", ...CHEAP });
  const der = Uint8Array.fromBase64(pem.split("\n").slice(1, -2).join(""));
  const wrap = (bytes: Uint8Array) =>
    `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${bytes.toBase64()}\n-----END ENCRYPTED PRIVATE KEY-----\n`;
  assert.deepEqual(await decryptPem(wrap(der), "x"), alice.leaf.pkcs8);
  for (let length = 0; length < der.length; length++) {
    await assert.rejects(decryptPem(wrap(der.subarray(0, length)), "x"), DecodeError, `${length} bytes`);
  }
  await assert.rejects(decryptPem(wrap(new Uint8Array([...der, 0])), "x"), DecodeError);
  for (const text of ["", "hello", pkcs8ToPem(alice.leaf.pkcs8), pem.replace(/M/g, "=")]) {
    await assert.rejects(decryptPem(text, "x"), DecodeError);
  }
  // PBKDF2 with a billion rounds would only stop us.
  const endless = der.toHex().replace("02010a", "02043b9aca00");
  assert.notEqual(endless, der.toHex());
  await assert.rejects(decryptPem(wrap(Uint8Array.fromHex(endless)), "x"), DecodeError);
});

Deno.test("decryptPem() never yields another secret from a changed description", async () => {
  const { alice } = await testKeys();
  const pem = await encryptPem({ pkcs8: alice.leaf.pkcs8, passphrase: "x", ...CHEAP });
  const der = Uint8Array.fromBase64(pem.split("\n").slice(1, -2).join(""));
  for (let i = 0; i < der.length - 64; i++) {
    const changed = der.slice();
    changed[i]! ^= 1;
    const text = `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${changed.toBase64()}\n-----END ENCRYPTED PRIVATE KEY-----`;
    const opened = await decryptPem(text, "x").catch((error: unknown) => {
      assert.ok(error instanceof DecodeError);
      return undefined;
    });
    // CBC lets whoever changes the IV change the first block: of this key that is its DER prefix, which importing judges.
    if (opened !== undefined) assert.deepEqual(opened.subarray(16), alice.leaf.pkcs8.subarray(16), `byte ${i}`);
  }
});

Deno.test("pkcs8FromPem() reads every key of a text in order and ignores what is around them", async () => {
  const { alice } = await testKeys();
  const text = `a note\n${pkcs8ToPem(alice.leaf.pkcs8)}between\n${
    pkcs8ToPem(alice.envelopePkcs8).replace(/\n/g, "\r\n")
  }after`;
  assert.deepEqual(pkcs8FromPem(text), [alice.leaf.pkcs8, alice.envelopePkcs8]);
  assert.deepEqual(pkcs8FromPem("nothing here"), []);
  assert.throws(() => pkcs8FromPem("-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----"), DecodeError);
});
