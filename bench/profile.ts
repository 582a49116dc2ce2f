/** Where a process spends its time, by function: V8's sampling profiler through `node:inspector`. */
import { Session } from "node:inspector";

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}

/** Starts sampling. @returns What ends it and gives the dearest functions, with their share of all samples. */
export function startProfile(intervalUs = 200): () => Promise<{ share: number; name: string }[]> {
  const session = new Session();
  session.connect();
  session.post("Profiler.enable");
  session.post("Profiler.setSamplingInterval", { interval: intervalUs });
  session.post("Profiler.start");
  return () =>
    new Promise((resolve, reject) => {
      session.post("Profiler.stop", (error, result) => {
        if (error) return reject(error);
        const { nodes, samples = [] } = result.profile;
        resolve(byFunction(nodes, samples));
      });
    });
}

function byFunction(nodes: readonly ProfileNode[], samples: readonly number[]): { share: number; name: string }[] {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const counts = new Map<string, number>();
  for (const id of samples) {
    const name = names.get(id) ?? "?";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => ({ share: count / samples.length, name })).sort((a, b) =>
    b.share - a.share
  );
}

function nameOf({ functionName, url, lineNumber }: ProfileNode["callFrame"]): string {
  const file = url.split("/").slice(-2).join("/");
  return `${functionName || "(anonymous)"} ${file}:${lineNumber + 1}`;
}
