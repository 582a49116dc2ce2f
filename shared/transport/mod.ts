/** The transport: a sans-IO connection with streams, loss recovery and congestion control. Pure. */
export { Connection } from "./connection.ts";
export type { ConnectionOptions, ConnectionStats } from "./connection_options.ts";
export type { ConnectionEvent } from "./events.ts";
export type { Controller } from "./congestion.ts";
export { NewReno } from "./new_reno.ts";
export { Cubic } from "./cubic.ts";
export { Illinois } from "./illinois.ts";
export { DEFAULT_LIMITS, type TransportLimits } from "./flow_control.ts";
export { type Address, sameAddress } from "./path.ts";
export type { Priority } from "./stream.ts";
export { ClientEndpoint, type ClientEndpointOptions } from "./client_endpoint.ts";
export {
  DEFAULT_ENDPOINT_LIMITS,
  type EndpointCounters,
  type EndpointLimits,
  ServerEndpoint,
  type ServerEndpointOptions,
} from "./endpoint.ts";
export { type Answer, type Endpoint, type EndpointFailure, Link, type LinkOwner, type Task } from "./link.ts";
export type { Rate } from "./rate_limit.ts";
export { DEFAULT_RESUMPTION_LIMITS, type ResumptionLimits } from "./resume_gate.ts";
export { DEFAULT_RSA_LIMITS, type RsaLimits } from "./rsa_gate.ts";
