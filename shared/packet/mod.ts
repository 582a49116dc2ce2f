/** Layout of packets: in clear, and protected. Pure. */
export * from "./header.ts";
export * from "./clear.ts";
export * from "./protected.ts";
