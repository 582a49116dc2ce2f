/**
 * Eclipse Mosquitto from Debian's packages, to be compared with: MQTT with QoS 1 over TLS with an RSA-3072 certificate,
 * passwords, a persistent session for each client.
 *
 * Where it is not installed its packages are fetched by `apt-get download` and unpacked into a cache folder of the benches;
 * nothing is installed, no service is started, and no rights are needed (except that a machine without package lists gets them
 * by `apt-get update`, as root only).
 */
import { join } from "node:path";
import { generatePassphrase, systemRandom } from "../shared/crypto/mod.ts";
import { MqttClient } from "./mqtt.ts";
import { type Certificate, makeTlsCertificate, SERVER_NAME } from "./relay/certificate.ts";
import { pause, type Person, type Subject } from "./workload.ts";

/** What it does for power loss. */
export type Persistence = "default persistence" | "saved on every change";

/** How to run its programs. */
export interface Installation {
  readonly server: string;
  readonly passwords: string;
  readonly env: Record<string, string>;
}

export class NotAvailableError extends Error {
  override readonly name = "NotAvailableError";
}

/** Finds it, or fetches it. @throws NotAvailableError with the reason, for people. */
export async function findMosquitto(): Promise<Installation> {
  if (Deno.build.os !== "linux") throw new NotAvailableError("Mosquitto is taken from Debian's packages: needs Linux");
  if (await exists("/usr/sbin/mosquitto")) {
    return { server: "/usr/sbin/mosquitto", passwords: "/usr/bin/mosquitto_passwd", env: {} };
  }
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? "/tmp", ".cache");
  const folder = join(cache, "fastchat-bench", "mosquitto");
  const root = join(folder, "root");
  if (!await exists(join(root, "usr/sbin/mosquitto"))) await unpack(folder, root);
  const libraries: string[] = [];
  for (const parent of [join(root, "lib"), join(root, "usr/lib")]) {
    if (!await exists(parent)) continue;
    for await (const entry of Deno.readDir(parent)) if (entry.isDirectory) libraries.push(join(parent, entry.name));
  }
  return {
    server: join(root, "usr/sbin/mosquitto"),
    passwords: join(root, "usr/bin/mosquitto_passwd"),
    env: { LD_LIBRARY_PATH: libraries.join(":") },
  };
}

/** A broker of our own on loopback, with so many users. */
export class Mosquitto implements Subject {
  readonly name: string;
  readonly pids: readonly number[];
  readonly #process: Deno.ChildProcess;
  readonly #folder: string;
  readonly #port: number;
  readonly #certificate: Certificate;
  readonly #passwords: readonly string[];
  readonly #clients: MqttClient[] = [];

  private constructor(
    parts: {
      persistence: Persistence;
      process: Deno.ChildProcess;
      folder: string;
      port: number;
      certificate: Certificate;
      passwords: readonly string[];
    },
  ) {
    this.name = `Mosquitto, ${parts.persistence}`;
    this.pids = [parts.process.pid];
    this.#process = parts.process;
    this.#folder = parts.folder;
    this.#port = parts.port;
    this.#certificate = parts.certificate;
    this.#passwords = parts.passwords;
  }

  static async start(installation: Installation, persistence: Persistence, users: number): Promise<Mosquitto> {
    const folder = await Deno.makeTempDir({ prefix: "fastchat-bench-mosquitto-" });
    const certificate = await makeTlsCertificate(), port = freePort();
    const passwords = Array.from({ length: users }, () => generatePassphrase(systemRandom));
    const file = (name: string) => join(folder, name);
    await Deno.writeTextFile(file("cert.pem"), certificate.cert);
    await Deno.writeTextFile(file("key.pem"), certificate.key, { mode: 0o600 });
    await Deno.writeTextFile(
      file("passwords"),
      passwords.map((password, user) => `${nameOf(user)}:${password}\n`).join(""),
      { mode: 0o600 },
    );
    await run(installation.passwords, ["-U", file("passwords")], installation.env);
    await Deno.mkdir(file("data"));
    await Deno.writeTextFile(
      file("mosquitto.conf"),
      [
        // As root it would become a user that unpacked packages do not make.
        ...(Deno.uid() === 0 ? ["user root"] : []),
        `listener ${port} 127.0.0.1`,
        `certfile ${file("cert.pem")}`,
        `keyfile ${file("key.pem")}`,
        "allow_anonymous false",
        `password_file ${file("passwords")}`,
        "persistence true",
        `persistence_location ${file("data")}/`,
        ...PERSISTENCE[persistence],
        "set_tcp_nodelay true",
        "log_type error",
        "log_dest stderr",
      ].join("\n"),
    );
    const process = new Deno.Command(installation.server, {
      args: ["-c", file("mosquitto.conf")],
      env: installation.env,
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const broker = new Mosquitto({ persistence, process, folder, port, certificate, passwords });
    try {
      await broker.#answers();
      return broker;
    } catch (error) {
      await broker.stop();
      throw error;
    }
  }

  /** Connects all users; each talks to its neighbour. */
  async connect(): Promise<Person[]> {
    const people: Person[] = [];
    for (const [user, password] of this.#passwords.entries()) {
      const client = await MqttClient.connect({
        host: "127.0.0.1",
        port: this.#port,
        ca: this.#certificate.cert,
        serverName: SERVER_NAME,
        client: nameOf(user),
        password,
        onMessage: (payload) => person.onBody(payload),
        onLost: (error) => {
          throw new Error(`${nameOf(user)} lost its connection`, { cause: error });
        },
      });
      const topic = nameOf(user ^ 1);
      const person: Person = { send: (body) => client.publish(topic, body), onBody: () => {} };
      this.#clients.push(client);
      people.push(person);
    }
    return people;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    try {
      this.#process.kill("SIGTERM");
    } catch { /* it has ended by itself */ }
    await this.#process.status;
    await Deno.remove(this.#folder, { recursive: true });
  }

  async #answers(): Promise<void> {
    for (const endMs = performance.now() + START_MS_MAX;; await pause(20)) {
      try {
        return (await Deno.connect({ hostname: "127.0.0.1", port: this.#port })).close();
      } catch (error) {
        if (performance.now() > endMs) throw new Error("Mosquitto does not answer", { cause: error });
      }
    }
  }
}

async function unpack(folder: string, root: string): Promise<void> {
  let packages = await missingPackages();
  if (packages === undefined && Deno.uid() === 0) {
    console.error("Mosquitto: this machine has no package lists, so first: apt-get update");
    await run("apt-get", ["update", "-q"]);
    packages = await missingPackages();
  }
  if (packages === undefined) {
    throw new NotAvailableError("apt-get knows no package mosquitto: not Debian, or `apt-get update` was never run");
  }
  console.error(`Mosquitto: unpacking ${packages.join(", ")} into ${folder} (nothing is installed)`);
  const unfinished = `${root}.new`;
  await Deno.remove(unfinished, { recursive: true }).catch(() => {});
  await Deno.mkdir(join(unfinished, "packages"), { recursive: true });
  // Where apt-get runs as root it fetches as another user, who may not write here: that is a warning, and no harm.
  await run("apt-get", ["download", "-q", ...packages], {}, join(unfinished, "packages"));
  for await (const { name } of Deno.readDir(join(unfinished, "packages"))) {
    await run("dpkg", ["-x", join(unfinished, "packages", name), unfinished]);
  }
  await Deno.rename(unfinished, root);
}

/** What installing it would install: itself and the libraries that are not there. */
async function missingPackages(): Promise<string[] | undefined> {
  try {
    const plan = await run("apt-get", ["install", "-s", "--no-install-recommends", "mosquitto"]);
    const packages = [...plan.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name!);
    return packages.includes("mosquitto") ? packages : undefined;
  } catch {
    return undefined;
  }
}

/** @throws NotAvailableError with what the program said. */
async function run(program: string, args: string[], env: Record<string, string> = {}, cwd?: string): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, {
      args,
      env: { LC_ALL: "C", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      ...(cwd === undefined ? {} : { cwd }),
    }).output();
  } catch (error) {
    throw new NotAvailableError(`Cannot run ${program}: ${(error as Error).message}`);
  }
  const [said, complained] = [output.stdout, output.stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (!output.success) {
    throw new NotAvailableError(`${program} ${args[0]} failed: ${complained!.trim().split("\n").at(-1)}`);
  }
  return said!;
}

/** Free a moment ago. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

function nameOf(user: number): string {
  return `u${user}`;
}

const PERSISTENCE: Record<Persistence, readonly string[]> = {
  // Half an hour may be lost.
  "default persistence": ["autosave_interval 1800"],
  // The whole database is written anew after each turn of its loop in which anything changed.
  "saved on every change": ["autosave_on_changes true", "autosave_interval 1"],
};
const START_MS_MAX = 5_000;
