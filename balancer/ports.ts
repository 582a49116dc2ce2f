/** Which UDP port a server gets: following the balancer's own, or the next free one. */
import { openUdp } from "../shared/net/mod.ts";

/**
 * The port for one server.
 *
 * @param wanted Where to begin: the port it had before, or the balancer's port + 1 + its number.
 * @param taken Ports of other servers, also of those that are down at the moment.
 * @param isFree Asks the system.
 * @throws RangeError where every port from `wanted` around to 1024 is taken.
 */
export function choosePort(
  wanted: number,
  taken: ReadonlySet<number>,
  isFree: (port: number) => boolean,
): number {
  const span = PORT_MAX + 1 - PORT_MIN;
  for (let step = 0; step < span; step++) {
    const port = wanted + step <= PORT_MAX ? wanted + step : PORT_MIN + (wanted + step - PORT_MAX - 1) % span;
    if (!taken.has(port) && isFree(port)) return port;
  }
  throw new RangeError("Cannot find a free UDP port for a server");
}

/**
 * Whether a server could bind this UDP port: by binding it, the only question that the system answers truly. It is free again at
 * the next turn of the event loop.
 */
export function isPortFree(host: string, port: number): boolean {
  try {
    openUdp({ host, port, onDatagram() {} }).close();
    return true;
  } catch {
    return false;
  }
}

/** Below these one needs privileges. */
const PORT_MIN = 1024;
const PORT_MAX = 65_535;
