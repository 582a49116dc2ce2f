/** The transport over real sockets: channels for programs, UDP for the balancer. */
export * from "./channel.ts";
export * from "./clock.ts";
export * from "./udp_socket.ts";
