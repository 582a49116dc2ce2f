/** Who may import whom, what is pure, and who alone may touch a socket or start a process. Reads the source as text. */
import assert from "node:assert/strict";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = normalize(fileURLToPath(new URL("..", import.meta.url)));

/** Folders of `shared` that each folder may import; files directly in `shared` are open to all. */
const LAYERS: Record<string, readonly string[]> = {
  codec: [],
  packet: ["codec"],
  handshake: ["codec", "packet"],
  transport: ["codec", "packet", "handshake"],
  protocol: ["codec"],
  crypto: ["codec", "protocol"],
  net: ["codec", "packet", "handshake", "transport", "crypto"],
  host: ["codec"],
  cluster: ["codec", "handshake", "crypto", "host"],
};

/** Folders of `client` that these may import; files directly in `client` are open to all of them. */
const CLIENT_LAYERS: Record<string, readonly string[]> = {
  home: [],
  network: ["home"],
  trust: ["home", "network", "e2ee"],
  account: ["home", "network", "trust", "e2ee", "archive"],
  e2ee: ["home", "network", "trust", "account"],
  archive: ["home", "network", "trust", "account", "e2ee", "copies", "talk"],
  copies: ["home", "network", "trust", "account", "e2ee", "talk"],
  talk: ["home", "network", "trust", "account", "e2ee", "copies", "archive"],
};

/** Folders and files that decide and never do: see docs/ARCHITECTURE.md. */
const PURE = [
  "shared/assert.ts",
  "shared/limits.ts",
  "shared/errors.ts",
  "shared/kept.ts",
  "shared/primitives.ts",
  "shared/codec/",
  "shared/packet/",
  "shared/handshake/",
  "shared/transport/",
  "shared/protocol/",
  "shared/net/channel.ts",
  "server/server.ts",
  "server/sessions.ts",
  "server/turns.ts",
  "server/unfetched.ts",
  "server/presence.ts",
  "server/silence.ts",
  "server/fanout.ts",
  "server/feed.ts",
  "server/rate_limiter.ts",
  "server/throttles.ts",
  "server/bus/bus.ts",
  "server/bus/presence_board.ts",
  "balancer/locate.ts",
  "balancer/strategy.ts",
  "balancer/supervisor.ts",
];

const IMPURE = [
  /\bDeno\./,
  /["']node:/,
  /\bDate\b(?!\.prototype)/,
  /\bMath\.random\b/,
  /\bset(?:Timeout|Interval|Immediate)\b/,
  /\bqueueMicrotask\b/,
  /\bawait\b/,
  /\bperformance\b/,
  /\bcrypto\.(?:subtle|getRandomValues|randomUUID)\b/,
];

interface Source {
  /** Path from the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** The same without comments and string contents where it matters little: for searching words. */
  readonly code: string;
  readonly imports: readonly string[];
}

Deno.test("architecture: programs import shared and themselves only", async () => {
  const wrong: string[] = [];
  for (const source of await sources()) {
    const home = source.path.split("/")[0]!;
    for (const target of source.imports.filter(isLocal)) {
      const room = target.split("/")[0]!;
      if (room !== home && room !== "shared") wrong.push(`${source.path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("architecture: each layer of shared knows only those below it, through their door", async () => {
  const wrong: string[] = [];
  for (const source of await sources()) {
    const [room, folder, ...deeper] = source.path.split("/") as [string, string, ...string[]];
    const layer = room === "shared" && deeper.length > 0 ? folder : undefined;
    if (layer !== undefined && LAYERS[layer] === undefined) wrong.push(`${source.path} is in no known layer`);
    for (const target of source.imports.filter(isLocal)) {
      const [targetRoom, targetFolder, ...rest] = target.split("/") as [string, string, ...string[]];
      if (targetRoom !== "shared" || rest.length === 0 || targetFolder === layer) continue;
      if (rest.join("/") !== "mod.ts" && !OPEN_DOORS.has(target)) {
        wrong.push(`${source.path} goes round the door: ${target}`);
      }
      if (layer !== undefined && !LAYERS[layer]?.includes(targetFolder)) wrong.push(`${source.path} imports ${target}`);
      if (room === "shared" && layer === undefined) wrong.push(`${source.path}, open to all layers, imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("architecture: what a client keeps and asks knows nothing of who talks or looks on", async () => {
  const wrong: string[] = [];
  for (const source of await sources()) {
    const [room, folder, ...deeper] = source.path.split("/") as [string, string, ...string[]];
    const open = room === "client" && deeper.length > 0 ? CLIENT_LAYERS[folder] : undefined;
    if (open === undefined) continue;
    for (const target of source.imports.filter(isLocal)) {
      const [targetRoom, targetFolder, ...rest] = target.split("/") as [string, string, ...string[]];
      if (targetRoom !== "client" || targetFolder === folder) continue;
      if (rest.length === 0 ? FACES.has(targetFolder) : !open.includes(targetFolder)) {
        wrong.push(`${source.path} imports ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("architecture: no import cycles", async () => {
  const graph = new Map((await sources()).map((source) => [source.path, source.imports.filter(isLocal)]));
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    assert(!trail.includes(path), `Cycle: ${[...trail.slice(trail.indexOf(path)), path].join(" -> ")}`);
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

Deno.test("architecture: what is pure names no platform", async () => {
  const wrong: string[] = [];
  for (const source of (await sources()).filter(isPure)) {
    for (const pattern of IMPURE) {
      const found = pattern.exec(source.code);
      if (found) wrong.push(`${source.path}: ${found[0]}`);
    }
    for (const target of source.imports) {
      if (!isLocal(target)) wrong.push(`${source.path} imports ${target}`);
      else if (!isPure({ path: target })) wrong.push(`${source.path} imports ${target}, which is not pure`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("architecture: what is pure type-checks without any platform", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const config = join(folder, "deno.json");
    const platform = join(folder, "platform.d.ts");
    await Deno.writeTextFile(platform, ALLOWED_GLOBALS);
    await Deno.writeTextFile(
      config,
      JSON.stringify({
        compilerOptions: {
          lib: ["esnext"],
          types: [platform],
          strict: true,
          noUncheckedIndexedAccess: true,
          exactOptionalPropertyTypes: true,
        },
      }),
    );
    const files = (await sources()).filter(isPure).map((source) => join(ROOT, source.path));
    const check = new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", "--no-lock", "--config", config, ...files],
      env: { NO_COLOR: "1" },
      stdout: "piped",
      stderr: "piped",
    });
    const { success, stderr } = await check.output();
    assert(success, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("architecture: one file alone opens UDP sockets, two start processes, one folder knows MLS", async () => {
  const users = async (pattern: RegExp): Promise<string[]> =>
    (await sources()).filter((source) => pattern.test(source.code)).map((source) => source.path);
  assert.deepEqual(await users(/Deno\.listenDatagram\(/), ["shared/net/udp_socket.ts"]);
  assert.deepEqual(await users(/new Deno\.Command\(/), ["balancer/spawner.ts", "client/home/agent_process.ts"]);
  assert.deepEqual((await users(/["']ts-mls/)).filter((path) => !path.startsWith("client/e2ee/")), []);
});

Deno.test("architecture: nothing is left undone in the code", async () => {
  const left = (await sources()).filter((source) => /\b(?:TODO|FIXME|XXX|HACK)\b/.test(source.text));
  assert.deepEqual(left.map((source) => source.path), []);
});

/** Of the files directly in `client`, those that stand above its folders. */
const FACES = new Set([
  "mod.ts",
  "main.ts",
  "commands.ts",
  "chat_client.ts",
  "opening.ts",
  "session.ts",
  "overview.ts",
  "output.ts",
  "prompt.ts",
]);

/** Contracts that other layers need without the layer that implements them: types only. */
const OPEN_DOORS = new Set(["shared/net/channel.ts", "shared/net/clock.ts"]);

/** The two names of the platform that even pure code may use. */
const ALLOWED_GLOBALS = `
declare class TextEncoder { encode(input?: string): Uint8Array<ArrayBuffer>; }
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(input?: Uint8Array): string;
}
`;

let cache: Promise<Source[]> | undefined;

function sources(): Promise<Source[]> {
  return cache ??= collect();
}

async function collect(): Promise<Source[]> {
  const found: Source[] = [];
  const walk = async (folder: string): Promise<void> => {
    for await (const entry of Deno.readDir(folder)) {
      const path = join(folder, entry.name);
      if (entry.isDirectory) await walk(path);
      else if (entry.name.endsWith(".ts")) found.push(parse(path, await Deno.readTextFile(path)));
    }
  };
  for (const room of ["client", "server", "balancer", "shared"]) await walk(join(ROOT, room));
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

function parse(path: string, text: string): Source {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
  const imports = [...code.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)["']([^"']+)["']/g)].map(([, specifier]) =>
    specifier!.startsWith(".") ? relative(ROOT, join(dirname(path), specifier!)).replaceAll("\\", "/") : specifier!
  );
  return { path: relative(ROOT, path).replaceAll("\\", "/"), text, code, imports };
}

function isLocal(target: string): boolean {
  return /^(?:client|server|balancer|shared|tests|bench)\//.test(target);
}

function isPure({ path }: { path: string }): boolean {
  return PURE.some((pure) => pure.endsWith("/") ? path.startsWith(pure) : path === pure);
}
