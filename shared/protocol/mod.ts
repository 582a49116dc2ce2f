/** What client and server say to each other, and the names in it. Pure. */
export * from "./names.ts";
export * from "./messages.ts";
export * from "./hints.ts";
