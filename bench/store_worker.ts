/** The leader of `bench store` in a Worker: told its directory it leads, told "" it stops. */
import { type Backend, openBackend } from "../server/store/backend.ts";
import { silentLogger } from "../shared/log.ts";

const scope = self as unknown as {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent<string>) => void) | null;
};
let backend: Backend | undefined;

scope.onmessage = async ({ data: dataDir }) => {
  if (dataDir === "") await backend?.close();
  else backend = await openBackend({ dataDir, serverNumber: 0, logger: silentLogger });
  scope.postMessage(backend?.role());
};
