/**
 * The options of a server that a balancer hands on to every server it starts, as they are: `fastchat-server --help` explains
 * them, and the server judges their values.
 */
export const SERVER_FLAGS = {
  "registration": { type: "string" },
  "session-days": { type: "string" },
  "retention-days": { type: "string" },
  "retention-mib": { type: "string" },
  "signup-rate": { type: "string" },
  "login-rate": { type: "string" },
  "login-burst": { type: "string" },
  "wrong-passwords": { type: "string" },
  "wrong-passwords-account": { type: "string" },
  "request-rate": { type: "string" },
  "message-rate": { type: "string" },
  "handshake-rate": { type: "string" },
  "handshake-burst": { type: "string" },
  "handshake-rate-total": { type: "string" },
  "handshake-parallel": { type: "string" },
  "handshake-queue": { type: "string" },
  "connections": { type: "string" },
  "datagram-bytes": { type: "string" },
  "password-workers": { type: "string" },
  "password-queue": { type: "string" },
  "password-queue-address": { type: "string" },
  "log-level": { type: "string" },
} as const;
