/**
 * The password on its way into a log-in: stretched as the server says, as far as this home knows or the identity has signed that
 * it may say so (SECURITY P1).
 */
import { equalBytes, type StretchedPassword, stretchPassword } from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import type { DeviceId, ResponseOf, Stretching, UserName } from "../../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { adopt } from "./credentials_watch.ts";
import { isRefusedWith } from "./login_errors.ts";
import type { Remote } from "../network/remote.ts";
import { testOnlyFloor } from "./stretching.ts";

/** How this device shows who it is before it is logged in. */
export interface DeviceProof {
  readonly id: DeviceId;
  /** Over the connection's transcript. */
  readonly proof: Uint8Array;
}

/** What of a password the server is shown and what seals, and how it was stretched. */
export interface LoginPassword {
  readonly stretched: StretchedPassword;
  readonly stretching: Stretching;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
}

export interface LoginPasswordOptions {
  readonly credentials: Credentials;
  readonly name: UserName;
  readonly password: string;
  /** What this home knows of how it is stretched. */
  readonly known: Account | undefined;
  /** Lets the server tell of a change that was made on another device. */
  readonly device?: DeviceProof;
  onProgress(text: string): void;
}

/** @throws StretchingRefused for a salt that this home does not know and nobody signed, or a cost that no server may ask for. */
export async function stretchToLogIn(options: LoginPasswordOptions, remote: Remote): Promise<LoginPassword> {
  const { name, password, device } = options;
  const answer = await remote.ask<"stretch">({ type: "stretch", name, purpose: PURPOSE_LOG_IN });
  const { stretching, clusterId } = answer;
  let { known } = options;
  const isChanged = known?.salt !== undefined && !equalBytes(known.salt, stretching.salt);
  if (isChanged && device !== undefined) known = await learnChange(options, known!, stretching, device, remote);
  return { stretched: await stretchAsAnswered(name, password, answer, known), stretching, clusterId };
}

/** @param answer Of the server, to a question about this very name. @throws StretchingRefused */
export async function stretchAsAnswered(
  name: UserName,
  password: string,
  answer: ResponseOf<"stretching">,
  known: Account | undefined,
): Promise<StretchedPassword> {
  const testOnlyLog2NMin = testOnlyFloor();
  return await stretchPassword({
    password,
    name,
    // The answer came over a connection that only the cluster's key could have made.
    clusterId: known?.clusterId ?? answer.clusterId,
    offeredClusterId: answer.clusterId,
    stretching: answer.stretching,
    // Until the server has answered an enrolment it may be one that it never heard of, with a salt of its own.
    ...(known && { lastUsed: { log2N: known.log2N, ...(known.enrolled && known.salt && { salt: known.salt }) } }),
    ...(testOnlyLog2NMin !== undefined && { testOnlyLog2NMin }),
  });
}

/**
 * Another salt than the one known is followed where this home asked for it itself, or where the identity says so: a server must
 * not choose it.
 */
async function learnChange(
  { credentials, onProgress }: LoginPasswordOptions,
  known: Account,
  offered: Stretching,
  device: DeviceProof,
  remote: Remote,
): Promise<Account> {
  const { name } = known;
  if (await credentials.pendingPassword.settle(offered, Date.now()) === "new") {
    onProgress("The change of your password that was cut off has happened: the new one counts");
  } else {
    const told = await remote.ask<"credentials">({ type: "credentials", device: { name, ...device } }).catch(
      (error) => {
        if (isRefusedWith(error, ErrorCode.badCredentials)) return undefined;
        throw error;
      },
    );
    if (told && await adopt(credentials, known, told)) onProgress("Your password was changed on another device");
  }
  return credentials.account() ?? known;
}

const PURPOSE_LOG_IN = 2;
