/** The transport over real sockets: channels for programs, UDP for the balancer. */
export * from "./channel.ts";
export * from "./client.ts";
export * from "./clock.ts";
export * from "./locate.ts";
export { NameError, resolveHost } from "./resolve.ts";
export { ChannelServer, type ChannelServerOptions, type ChannelServerStats, type ClusterSecrets } from "./server.ts";
export { DEFAULT_ENDPOINT_LIMITS, DEFAULT_RSA_LIMITS, type EndpointLimits } from "../transport/mod.ts";
export {
  BindError,
  foldHost,
  formatHostPort,
  isWildcard,
  openUdp,
  type Route,
  type UdpCounters,
  type UdpOptions,
  UdpSocket,
  UdpSockets,
} from "./udp_socket.ts";
