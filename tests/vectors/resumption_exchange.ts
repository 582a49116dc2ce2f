/** One resumption from fixed inputs (docs/PROTOCOL.md §2.6): what the vector is made of, and what it is checked with. */
import { createPrimitives } from "../../shared/crypto/mod.ts";
import {
  AddressTokens,
  ClientHandshake,
  encodeGrant,
  ServerHandshake,
  Tickets,
  TokenPurpose,
} from "../../shared/handshake/mod.ts";
import { scripted } from "./scripted_random.ts";

export interface ResumptionInputs {
  readonly clusterKey: string;
  readonly clusterId: string;
  readonly tokenKey: string;
  readonly ticketKeyId: string;
  readonly ticketKey: string;
  /** What the ticket holds. */
  readonly user: string;
  readonly device: string;
  readonly session: string;
  readonly generation: number;
  readonly earlierConnectionId: string;
  readonly earlierResumption: string;
  /** Nonces of the ticket and of the next one. */
  readonly ticketNonce: string;
  readonly nextTicketNonce: string;
  readonly clientPrivate: string;
  readonly serverPrivate: string;
  readonly connectionId: string;
  readonly resetToken: string;
  readonly host: string;
  readonly nowSeconds: number;
  readonly watchMs: number;
}

const hex = Uint8Array.fromHex;

export async function resume(inputs: ResumptionInputs) {
  const { host, nowSeconds, user, generation, watchMs } = inputs, clusterKey = hex(inputs.clusterKey);
  const draws = [inputs.ticketNonce, inputs.serverPrivate, inputs.nextTicketNonce].map((text) => hex(text));
  const server = await createPrimitives({ random: scripted(...draws) });
  const client = await createPrimitives({ random: scripted(hex(inputs.clientPrivate)) });
  const key = { id: hex(inputs.ticketKeyId), key: hex(inputs.ticketKey) };
  const tickets = new Tickets(server, () => ({ sealing: key, opening: [key] }));
  const login = { user, device: hex(inputs.device), session: hex(inputs.session), generation };
  const secret = hex(inputs.earlierResumption);
  const ticket = tickets.seal(login, { connectionId: hex(inputs.earlierConnectionId), secret, nowSeconds });

  const tokens = new AddressTokens(server, hex(inputs.tokenKey), hex(inputs.clusterId));
  const token = tokens.make(TokenPurpose.newToken, host, nowSeconds);
  const clientSide = new ClientHandshake({
    primitives: client,
    versions: [1],
    clusterKey,
    token,
    ticket: { ticket, secret },
    nowUs: 0,
  });
  const initial = clientSide.pollTransmit()!.slice();

  const serverSide = new ServerHandshake({ primitives: server, versions: [1], clusterKey, tokens, tickets });
  const action = serverSide.receive(initial, host, nowSeconds);
  if (action?.type !== "resume") throw new Error("The INITIAL was not taken");
  const connectionId = hex(inputs.connectionId);
  const accepted = serverSide.accept(action.request, action.request.ticket.secret, {
    host,
    nowSeconds,
    connectionId,
    resetToken: hex(inputs.resetToken),
    parameters: {
      idleTimeoutUs: 60_000_000,
      connectionWindowBytes: 2 << 20,
      streamWindowBytes: 256 << 10,
      streamsOpenMax: 256,
    },
    servers: [{ number: 5, host: "", port: 9006 }, { number: 6, host: "chat.example", port: 9007 }],
    grant: (secret) =>
      encodeGrant({
        lifetimeSeconds: 604_800,
        watchMs,
        ticket: tickets.seal(action.request.ticket, { connectionId, secret, nowSeconds }),
      }),
  })!;
  clientSide.handleDatagram(accepted.packet, 1);
  const { outcome } = clientSide;
  if (outcome?.type !== "connected") throw new Error("The ACCEPT was not taken");
  const outputs = Object.fromEntries(
    Object.entries({ ticket, token, initial, accept: accepted.packet, grant: outcome.ticket, ...accepted.secrets })
      .map(([name, bytes]) => [name, bytes.toHex()]),
  );
  return { outputs, ticket: action.request.ticket, outcome };
}
