/** The only folder that touches cryptographic primitives. */
export { createPrimitives } from "./primitives.ts";
export { systemRandom } from "./random.ts";
export { equalBytes, hkdfExpand, hkdfExtract, hmacSha256, sha256 } from "./hkdf.ts";
export { aeadOpen, aeadSeal, type SealOptions } from "./sealed_bytes.ts";
export { openRow, ROW_SEAL_BYTES, type RowSealOptions, sealRow } from "./row_seal.ts";
export { x25519, x25519FromPrivate } from "./x25519.ts";
export { Ed25519KeyPair, ed25519Verify } from "./ed25519.ts";
export {
  fingerprint,
  formatFingerprint,
  generateRsaPkcs8,
  importOaepPrivate,
  importOaepPublic,
  importPssPrivate,
  importPssPublic,
  oaepDecrypt,
  oaepEncrypt,
  parseFingerprint,
  pssSign,
  pssVerify,
  RSA_BYTES,
  spkiFromPkcs8,
} from "./rsa.ts";
export {
  type Certificate,
  type CertificateFault,
  type CertificateFields,
  type CertificateVerdict,
  decodeCertificate,
  isRsa3072Spki,
  makeCertificate,
  validityFault,
  verifyCertificate,
} from "./certificate.ts";
export {
  isReceipt,
  NOTHING_DELIVERED,
  receiptBytes,
  type ReceiptStatement,
  signReceipt,
  verifyReceipt,
} from "./receipt.ts";
export {
  decodeKeyStatement,
  deviceEntry,
  EMPTY_KEY_LOG,
  encodeKeyStatement,
  type KeyStatement,
  type KeyStatementOf,
  type KeyStatementOwner,
  nextKeyLogHead,
  signApproval,
  signDeviceName,
  signPolicy,
  signRevocation,
  signRotation,
  verifyApproval,
  verifyByIdentity,
  verifyDeviceName,
} from "./key_log.ts";
export { applyStatement, isUsable, judgeStatement, type KeyHistory, type LoggedDevice } from "./key_history.ts";
export {
  formatLinkCode,
  linkCode,
  type LinkGrant,
  type LinkOffer,
  linkPlace,
  openLinkGrant,
  openLinkOffer,
  parseLinkCode,
  sealLinkGrant,
  sealLinkOffer,
} from "./linking.ts";
export {
  compareLink,
  linkCommitment,
  type LinkComparison,
  type LinkGranter,
  linkLetterPlace,
  type LinkSide,
  newLinkOpening,
  oldLinkOpening,
} from "./link_comparison.ts";
export { directConversationId } from "./direct_id.ts";
export { formatSafetyNumber, parseSafetyNumber, safetyNumber, type SafetyPerson } from "./safety_number.ts";
export {
  makeDeviceProof,
  makeDropArchive,
  makeEnrolProof,
  makeRecoveryProof,
  verifyDeviceProof,
  verifyDropArchive,
  verifyEnrolProof,
  verifyRecoveryProof,
} from "./proofs.ts";
export { type StretchedPassword, StretchingRefused, type StretchOptions, stretchPassword } from "./password.ts";
export { generatePassphrase, passwordBits, passwordProblem } from "./password_strength.ts";
export { type PasswordStatement, signPasswordStatement, verifyPasswordStatement } from "./password_statement.ts";
export {
  formatRecoveryKey,
  generateRecoveryKey,
  isRecoveryProof,
  parseRecoveryKey,
  recoveryProofHash,
  type RecoverySecrets,
  recoverySecrets,
} from "./recovery_key.ts";
export { type BackupFault, openBackup, sealBackup } from "./backup.ts";
export {
  archiveKeyId,
  type ArchiveOwner,
  type ChunkPlace,
  openArchiveKey,
  openChunk,
  sealArchiveKey,
  sealChunk,
} from "./archive.ts";
export {
  type Envelope,
  type EnvelopeContent,
  type EnvelopeFault,
  envelopeHash,
  type EnvelopeHeader,
  InnerType,
  NO_PREVIOUS,
  openEnvelope,
  type OpenEnvelopeOptions,
  readEnvelope,
  sealEnvelope,
  type SealEnvelopeOptions,
} from "./envelope.ts";
export { decryptPem, encryptPem, type EncryptPemOptions, PEM_ITERATIONS, pkcs8FromPem, pkcs8ToPem } from "./pem.ts";
