/** Writes keys.json anew: `deno run -A tests/vectors/make_keys.ts`. The envelope and certificate vectors follow from it. */
import { generateRsaPkcs8, systemRandom } from "../../shared/crypto/mod.ts";

const device = async () => ({
  id: systemRandom.bytes(16).toHex(),
  leafSeed: systemRandom.bytes(32).toHex(),
  envelopePkcs8: (await generateRsaPkcs8()).toHex(),
});

const keys = {
  note: "Keys of people who do not exist. They protect nothing.",
  identities: { alice: (await generateRsaPkcs8()).toHex(), bob: (await generateRsaPkcs8()).toHex() },
  devices: { alice1: await device(), alice2: await device(), bob1: await device() },
};
await Deno.writeTextFile(new URL("./keys.json", import.meta.url), JSON.stringify(keys, null, 2) + "\n");
