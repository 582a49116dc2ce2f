/** The page that `fastchat --help` prints: every command in a line, and what is common to all. */
import { VERSION } from "../shared/version.ts";
import { COMMANDS } from "./commands.ts";

/** What `fastchat --help` prints. */
export function overview(): string {
  const commands = Object.values(COMMANDS).map(({ usage, summary }) =>
    usage.length < SUMMARY_COLUMN - 3
      ? `  ${usage.padEnd(SUMMARY_COLUMN - 2)}${summary}`
      : `  ${usage}\n${" ".repeat(SUMMARY_COLUMN)}${summary}`
  );
  return `fastchat ${VERSION}: end-to-end encrypted chat on your own server

${commands.join("\n")}

Options everywhere:
  --home DIR            one person's things on this machine (or FASTCHAT_HOME);
                        without it each person has a folder
  -u, --user NAME       which of the accounts on this machine
  --password-file FILE  the password is its first line (or FASTCHAT_PASSWORD, or
                        a prompt)
  --token-file FILE     unlocks in its place (or FASTCHAT_TOKEN_FILE): token
  --no-agent            do not stay unlocked after a password was typed
  --timeout SECONDS     give up after that long (20)
  --datagram-bytes N    largest UDP payload to send (1200; up to 1452 where the
                        path to the server is known to carry it)
  -h, --help            this page; behind a command, that command's
  -V, --version         the version

Exit codes: 0 ok, 1 internal error, 2 wrong usage, 3 cannot reach the server,
4 not authenticated, 5 refused by the server, 6 a key changed, 7 timed out,
8 the home is locked.

Begin with: fastchat HOST PORT`;
}

/** Where summaries begin; together with the longest of them it fits 80 columns. */
const SUMMARY_COLUMN = 30;
