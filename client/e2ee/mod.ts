/** End-to-end encryption on the client: who people are, what a device is, sealing and opening. */
export { CertificateCache } from "./certificate_cache.ts";
export { DeviceKeys, type DevicePublicKeys } from "./device_keys.ts";
export { type CertifyOptions, Identity } from "./identity.ts";
export {
  type OpenedMessage,
  type OpenedRecord,
  openRecord,
  type OpenRecordOptions,
  type ReceivedChain,
  type RefusalCode,
} from "./opener.ts";
export { NoUsableDevice, type SealedForDevices, sealFor, type SealForOptions, type SkippedDevice } from "./sealer.ts";
export { parseSafetyUri, safetyUri, type ScannedNumber } from "./safety_uri.ts";
export { type IdentityVerdict, judgeIdentity, KeyChanged, mayTrust, type PinLookup, requirePinned } from "./trust.ts";
