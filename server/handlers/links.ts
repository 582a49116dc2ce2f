/** Linking a device by a code (docs/PROTOCOL.md §18, SECURITY P10): the server keeps two sealed letters at a place. */
import { DecodeError } from "../../shared/codec/mod.ts";
import { decodeCertificate, decodeKeyStatement, hmacSha256 } from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { LINK_COMPARE_MS, LINK_LETTER_BYTES_MAX } from "../../shared/limits.ts";
import type { RequestOf, ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";
import { addCertified, grant, provenDevice, refuseEnded } from "./auth.ts";
import { stateKeys } from "./keys.ts";

/** linkOffer = place and offer → linkGranted, empty until somebody has | error busy, limit */
export async function linkOffer(
  { place, offer }: RequestOf<"linkOffer">,
  caller: Caller,
  { store, throttles, clock, nowMs }: Services,
): Promise<ResponseOf<"linkGranted">> {
  throttles.question(caller.address, clock.nowUs());
  const link = await store.offerLink(place, offer, nowMs());
  if (link !== undefined) return { type: "linkGranted", grant: link.grant?.sealed };
  throw tooMany();
}

/** linkFind = place → linkOffer | error notFound */
export async function linkFind(
  { place }: RequestOf<"linkFind">,
  _caller: Caller,
  { store, nowMs }: Services,
): Promise<ResponseOf<"linkOffer">> {
  const link = await store.link(place, nowMs());
  if (link === undefined) throw notFound();
  return { type: "linkOffer", offer: link.offer };
}

/** linkGrant = certificate of the device there, approval of it, and what it is to be given → ok | error */
export async function linkGrant(
  request: RequestOf<"linkGrant">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { place, certificate, approval, grant: sealed } = request, { user } = sessionOf(caller), { store } = services;
  const device = deviceIn(certificate);
  if (approvedBy(approval) !== device) throw new RequestError(ErrorCode.malformed, "It approves another device");
  if (await store.link(place, services.nowMs()) === undefined) throw notFound();
  await addCertified(user, certificate, services);
  await stateKeys({ type: "stateKeys", statement: approval }, caller, services);
  if (!await store.grantLink(place, { user, device, sealed }, services.nowMs())) throw notFound();
  return { type: "ok" };
}

/** linkLogin = place, and the device that was granted there, which proves itself → session | error badCredentials */
export async function linkLogin(
  { place, device, proof }: RequestOf<"linkLogin">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session">> {
  const { store, throttles, clock, nowMs } = services;
  throttles.question(caller.address, clock.nowUs());
  const granted = (await store.link(place, nowMs()))?.grant;
  const account = granted?.device === device ? await store.account(granted.user) : undefined;
  if (account === undefined) {
    throw new RequestError(ErrorCode.badCredentials, "This device was not linked, or too long ago");
  }
  if (provenDevice(account, { id: device, proof }, caller, services) === undefined) {
    await refuseEnded(account.name, { id: device, proof }, caller, services);
    throw new RequestError(ErrorCode.badCredentials, "The device key did not sign this connection");
  }
  return await grant(account.name, device, caller, services);
}

/**
 * linkMeet = name, and a commitment in a session of that user → linkLetter, the commitment there | error busy, forbidden, limit
 *
 * By the name alone nobody can tell the place, so nobody but its user leaves anything there.
 */
export async function linkMeet(
  { name, commitment }: RequestOf<"linkMeet">,
  caller: Caller,
  { store, throttles, clock, nowMs, saltKey }: Services,
): Promise<ResponseOf<"linkLetter">> {
  throttles.question(caller.address, clock.nowUs());
  const user = name.toLowerCase(), place = hmacSha256(saltKey, MEETING_LABEL, TEXT_ENCODER.encode(user));
  if (commitment === undefined) return { type: "linkLetter", letter: (await store.link(place, nowMs()))?.offer };
  if (sessionOf(caller).user !== user) throw new RequestError(ErrorCode.forbidden, "That is somebody else's name");
  if (await store.replaceLink(place, commitment, nowMs() + LINK_COMPARE_MS, nowMs())) {
    return { type: "linkLetter", letter: commitment };
  }
  throw tooMany();
}

/** linkLetter = place, and a letter for it → linkLetter, the first one left there | error busy, limit */
export async function linkLetter(
  { place, letter }: RequestOf<"linkLetter">,
  caller: Caller,
  { store, throttles, clock, nowMs }: Services,
): Promise<ResponseOf<"linkLetter">> {
  throttles.question(caller.address, clock.nowUs());
  const link = await (letter === undefined ? store.link(place, nowMs()) : store.offerLink(place, letter, nowMs()));
  if (letter !== undefined && link === undefined) throw tooMany();
  // Other things that wait to be linked may lie at a place somebody made up: those are no letters.
  const isLetter = link !== undefined && link.offer.length <= LINK_LETTER_BYTES_MAX;
  return { type: "linkLetter", letter: isLetter ? link.offer : undefined };
}

function deviceIn(certificate: Uint8Array) {
  return wellFormed(() => decodeCertificate(certificate).device);
}

function approvedBy(entry: Uint8Array) {
  const said = wellFormed(() => decodeKeyStatement(entry));
  return said.type === "approve" ? said.device : undefined;
}

function wellFormed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new RequestError(ErrorCode.malformed, error.message);
  }
}

function notFound(): RequestError {
  return new RequestError(
    ErrorCode.notFound,
    "No device waits with that code: is it still showing it, on the same server?",
  );
}

function tooMany(): RequestError {
  return new RequestError(ErrorCode.busy, "Too many devices are being linked: try again later", RETRY_MS);
}

const RETRY_MS = 10_000;
const TEXT_ENCODER = new TextEncoder();
const MEETING_LABEL = TEXT_ENCODER.encode("fastchat/link-meeting/1 ");
