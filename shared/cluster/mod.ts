/** What the processes of one data directory share: where things lie, who runs where, and the cluster's keys. */
export * from "./paths.ts";
export * from "./keys.ts";
export * from "./server_flags.ts";
export * from "./state.ts";
export * from "./ticket_keys.ts";
export * from "./upkeep.ts";
