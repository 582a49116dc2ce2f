/** From an INITIAL to a connection's keys: the client's machine, the server's functions, address tokens. Pure. */
export * from "./address.ts";
export * from "./client.ts";
export * from "./key_schedule.ts";
export * from "./parameters.ts";
export * from "./server.ts";
export * from "./ticket.ts";
export * from "./token.ts";
export * from "./transcript.ts";
