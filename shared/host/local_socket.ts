/**
 * Byte streams between processes of one user on one machine, named by a path.
 *
 * A Unix stream socket where the system has them and the path fits `sockaddr_un`; else loopback TCP whose port stands in
 * `PATH.tcp`, where both ends first prove a key that lies beside it ({@linkcode file://./local_proof.ts}). Either way the
 * directory must be closed to others (0700), or nothing starts.
 *
 * A process that was killed leaves its socket file behind, and then `listenLocal` says AddrInUse. Whoever holds the lock
 * that owns the socket, and nobody else, may call {@linkcode removeStaleSocket} first.
 */
import { basename, dirname, join } from "node:path";
import { LocalProofError, proveAsClient, proveAsServer } from "./local_proof.ts";
import { checkPrivateDirectory, createPrivateFile, readPrivateText, writePrivateFile } from "./private_file.ts";

export { LocalProofError };

export interface LocalListener {
  readonly path: string;
  /**
   * The next connection; over TCP one whose peer has proved the key. Rejects with `Deno.errors.BadResource` (or
   * `Interrupted`) once the listener is closed.
   */
  accept(): Promise<Deno.Conn>;
  /**
   * Stops listening. Resolves when the socket's file is gone: wait for that before you let go of the lock that owns it. The file of
   * one who listens there already, because the lock did not hold, stays. Repeating it does nothing.
   */
  close(): Promise<void>;
}

/** @throws PrivateFileError for an open directory. @throws Deno.errors.AddrInUse where the path is taken (see above). */
export async function listenLocal(path: string): Promise<LocalListener> {
  await checkPrivateDirectory(dirname(path));
  if (usesTcp(path)) return await TcpListener.listen(path);
  const listener = Deno.listen({ transport: "unix", path });
  // The directory keeps others out already; this is the second lock on the door.
  await Deno.chmod(path, 0o600);
  return new UnixListener(path, listener, (await Deno.stat(path)).ino);
}

/**
 * Connects to whoever listens on `path`.
 *
 * @throws LocalProofError, PrivateFileError, or the system's error: `Deno.errors.NotFound` and `ConnectionRefused` mean
 * that nobody listens.
 */
export async function connectLocal(path: string): Promise<Deno.Conn> {
  if (!usesTcp(path)) return await Deno.connect({ transport: "unix", path });
  const port = Number.parseInt(await readPrivateText(portPath(path)), 10);
  if (!(port >= 1 && port <= 65_535)) throw new LocalProofError(`Cannot connect to ${path}: its port file is damaged`);
  const key = Uint8Array.fromHex((await readPrivateText(keyPath(path))).trim());
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  try {
    await withDeadline(conn, proveAsClient(conn, key, proofContext(path, port)));
    conn.setNoDelay(true);
    return conn;
  } catch (error) {
    closeQuietly(conn);
    throw error;
  }
}

/** Removes what a killed process left at `path`. Only for whoever holds the lock that owns this socket. */
export async function removeStaleSocket(path: string): Promise<void> {
  for (const file of [path, portPath(path)]) {
    try {
      await Deno.remove(file);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Whether this path is served over loopback TCP: Windows, or a path that a Unix socket's address cannot hold. */
export function usesTcp(path: string): boolean {
  return Deno.build.os === "windows" || new TextEncoder().encode(path).length > UNIX_PATH_BYTES_MAX;
}

class UnixListener implements LocalListener {
  readonly path: string;
  readonly #listener: Deno.UnixListener;
  /** Of the socket's file; a bound socket keeps it from being used again. */
  readonly #inode: number | null;
  readonly #accepting = new Set<Promise<unknown>>();
  #closed = false;

  constructor(path: string, listener: Deno.UnixListener, inode: number | null) {
    this.path = path;
    this.#listener = listener;
    this.#inode = inode;
  }

  accept(): Promise<Deno.Conn> {
    const accepted = this.#listener.accept();
    const settled = accepted.then(() => {}, () => {}).finally(() => this.#accepting.delete(settled));
    this.#accepting.add(settled);
    return accepted;
  }

  async close(): Promise<void> {
    const successor = this.#closed ? undefined : this.#putSuccessorAside();
    if (!this.#closed) {
      this.#closed = true;
      this.#listener.close();
    }
    // Deno removes the file when the last accept lets go of the listener.
    await Promise.all(this.#accepting);
    if (successor !== undefined) await Deno.rename(successor, this.path);
  }

  /** Another one listens under our path: what Deno removes must not be its file. */
  #putSuccessorAside(): string | undefined {
    const aside = `${this.path}.${Deno.pid}`;
    try {
      if (Deno.statSync(this.path).ino === this.#inode) return undefined;
      Deno.renameSync(this.path, aside);
      return aside;
    } catch {
      return undefined;
    }
  }
}

class TcpListener implements LocalListener {
  readonly path: string;
  readonly #listener: Deno.TcpListener;
  readonly #key: Uint8Array;
  /** Proved and not yet taken by `accept`, and `accept`s that wait. One of the two is empty. */
  readonly #ready: Deno.Conn[] = [];
  readonly #waiting: PromiseWithResolvers<Deno.Conn>[] = [];
  #proving = 0;
  #closed = false;

  private constructor(path: string, listener: Deno.TcpListener, key: Uint8Array) {
    this.path = path;
    this.#listener = listener;
    this.#key = key;
    this.#run();
  }

  static async listen(path: string): Promise<TcpListener> {
    const fresh = crypto.getRandomValues(new Uint8Array(KEY_BYTES)).toHex();
    const key = Uint8Array.fromHex(new TextDecoder().decode(await createPrivateFile(keyPath(path), fresh)).trim());
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    try {
      await writePrivateFile(portPath(path), `${listener.addr.port}\n`);
    } catch (error) {
      listener.close();
      throw error;
    }
    return new TcpListener(path, listener, key);
  }

  accept(): Promise<Deno.Conn> {
    const conn = this.#ready.shift();
    if (conn) return Promise.resolve(conn);
    if (this.#closed) return Promise.reject(new Deno.errors.BadResource("Listener has been closed"));
    const waiting = Promise.withResolvers<Deno.Conn>();
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  // deno-lint-ignore require-await
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const { port } = this.#listener.addr;
    this.#listener.close();
    for (const conn of this.#ready.splice(0)) closeQuietly(conn);
    for (const waiting of this.#waiting.splice(0)) {
      waiting.reject(new Deno.errors.BadResource("Listener has been closed"));
    }
    try {
      // Only our own: a successor may have written its port already.
      if (Number.parseInt(Deno.readTextFileSync(portPath(this.path)), 10) === port) {
        Deno.removeSync(portPath(this.path));
      }
    } catch { /* gone already */ }
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      let conn: Deno.TcpConn;
      try {
        conn = await this.#listener.accept();
      } catch {
        if (this.#closed) return;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
        continue;
      }
      // Strangers can connect: what they can hold open is bounded.
      if (this.#proving >= PROVING_MAX) closeQuietly(conn);
      else this.#prove(conn);
    }
  }

  async #prove(conn: Deno.TcpConn): Promise<void> {
    this.#proving++;
    try {
      const context = proofContext(this.path, this.#listener.addr.port);
      await withDeadline(conn, proveAsServer(conn, this.#key, context));
      conn.setNoDelay(true);
      const waiting = this.#waiting.shift();
      if (waiting) waiting.resolve(conn);
      else if (this.#closed || this.#ready.length >= READY_MAX) closeQuietly(conn);
      else this.#ready.push(conn);
    } catch {
      closeQuietly(conn);
    } finally {
      this.#proving--;
    }
  }
}

/** Ends a proof that takes too long by closing its connection. */
async function withDeadline(conn: Deno.Conn, proof: Promise<void>): Promise<void> {
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    closeQuietly(conn);
  }, PROOF_MS_MAX);
  try {
    await proof;
  } catch (error) {
    if (late) throw new LocalProofError("Cannot prove a local connection: the other end took too long");
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch { /* closed already */ }
}

function proofContext(path: string, port: number): string {
  return `${port} ${basename(path)}`;
}

function portPath(path: string): string {
  return `${path}.tcp`;
}

function keyPath(path: string): string {
  return join(dirname(path), "local.key");
}

/** `sun_path` holds 108 bytes on Linux and 104 on macOS, with the final zero. */
const UNIX_PATH_BYTES_MAX = 100;
const KEY_BYTES = 32;
const PROOF_MS_MAX = 2000;
const PROVING_MAX = 32;
const READY_MAX = 32;
const ACCEPT_RETRY_MS = 50;
