/** Addresses in the namespace of the emulator. The far ones differ from the near ones in the last byte only: 2 for 1. */

/** What servers listen on. */
export const SERVER = "10.99.0.1";
/** Where clients reach them through the bad link. */
export const SERVER_FROM_AFAR = "10.99.0.2";
/** What clients send from, and where servers see them. */
export const CLIENTS = "10.99.1.1";
export const CLIENTS_FROM_AFAR = "10.99.1.2";
