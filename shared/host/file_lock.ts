/**
 * A lock that the operating system drops with its process, however that dies: who holds the file leads.
 *
 * Taken by polling `tryLock`: a blocking `lock()` cannot be cancelled, and closing the file under it leaves a process that
 * never ends. The file stays for good; removing it would let two processes hold "the" lock, each on a file of its own.
 */

export class FileLock {
  readonly path: string;
  #file: Deno.FsFile | undefined;

  private constructor(path: string, file: Deno.FsFile) {
    this.path = path;
    this.#file = file;
  }

  /** Takes the lock if it is free now; the file then names our pid. */
  static async tryAcquire(path: string): Promise<FileLock | undefined> {
    const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
    let locked = false;
    try {
      locked = await file.tryLock(true);
      if (!locked) return undefined;
      await file.truncate();
      await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
      return new FileLock(path, file);
    } catch (error) {
      locked = false;
      throw error;
    } finally {
      if (!locked) file.close();
    }
  }

  /**
   * Waits for the lock, asking every `pollMs`.
   *
   * @throws The signal's reason once it is aborted.
   */
  static async acquire(path: string, options: { pollMs?: number; signal?: AbortSignal } = {}): Promise<FileLock> {
    const { pollMs = 50, signal } = options;
    while (true) {
      signal?.throwIfAborted();
      const lock = await FileLock.tryAcquire(path);
      if (lock) return lock;
      await pause(pollMs, signal);
    }
  }

  /**
   * The pid that the lock's file names: its holder's, or its last holder's. Unknown where the file is not there, or the
   * system (Windows) lets nobody read a locked file.
   */
  static async holder(path: string): Promise<number | undefined> {
    try {
      const pid = Number.parseInt(await Deno.readTextFile(path), 10);
      return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  /** Lets the next one have it. Repeating it does nothing. */
  release(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", stopped, { once: true });
    function done(): void {
      signal?.removeEventListener("abort", stopped);
      resolve();
    }
    function stopped(): void {
      clearTimeout(timer);
      reject(signal!.reason);
    }
  });
}
