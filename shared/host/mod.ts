/**
 * What a program needs of the machine it runs on, apart from UDP: private files, locks, logs, and sockets between
 * processes of one person on one machine. Thin and dull on purpose; nothing here decides anything about chat.
 */
export * from "./control.ts";
export * from "./directories.ts";
export * from "./file_lock.ts";
export * from "./flags.ts";
export * from "./local_socket.ts";
export * from "./log_file.ts";
export * from "./private_file.ts";
