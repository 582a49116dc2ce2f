/** Signing up and in, and what keeps an account: its recovery key, its archive, its password. */
import type { Command } from "./command.ts";

const account = () => import("../account.ts");
const credentials = () => import("../credentials.ts");

export const ACCOUNT_COMMANDS = {
  chat: {
    name: "chat",
    usage: "fastchat [--home DIR] HOST PORT [-u NAME]",
    summary: "chat; signs you up or logs you in by prompt",
    help: `Opens a chat on the server at HOST PORT. The first time it asks for a name and
a password, and signs you up or logs you in; after that it remembers you, and
"fastchat" alone is enough while there is only one account here.

Without a terminal it reads lines and prints lines; what could not be sent is
told on standard error and by the exit code.

With the fingerprint that its balancer prints, the first contact is proven too:
fastchat HOST:PORT#FINGERPRINT.

  fastchat chat.example.org 9000
  fastchat 127.0.0.1 9000 -u alice`,
    words: [0, 2],
    options: ["no-server-backup", "recovery-file", "device-name"],
    run: async (words, options) => (await import("../chat.ts")).chat(words, options),
  },
  register: {
    name: "register",
    usage: "fastchat register NAME --server HOST:PORT[#FINGERPRINT]",
    summary: "sign up; makes your keys",
    help: `Signs up as NAME: makes your identity and this device's keys, and keeps a
backup of the identity on the server, sealed by your password. With the
server's FINGERPRINT, which its balancer prints at start, the first contact is
proven too. The password comes from --password-file, FASTCHAT_PASSWORD or a
prompt; leave it empty at the prompt to be offered one.

It also makes a recovery key and prints it, this once: write it down. With it
"fastchat recover" gets the account back when password and devices are lost.

  --recovery-file FILE  write the recovery key to FILE (for you alone), and do
                        not print it
  --no-server-backup    keep the identity on this machine and under the recovery
                        key only: name and password are not enough to log in
                        elsewhere then
  --json                one JSON object instead of text

  fastchat register alice --server chat.example.org:9000`,
    words: [1, 1],
    options: ["server", "json", "no-server-backup", "recovery-file", "device-name"],
    run: async (words, options) => (await account()).register(words, options),
  },
  login: {
    name: "login",
    usage: "fastchat login NAME --server HOST:PORT[#FINGERPRINT]",
    summary: "log in here; adds this device",
    help: `Logs in as NAME on this machine. In an empty home this adds a device: the same
person, with messages from now on.

  fastchat login alice --server chat.example.org:9000`,
    words: [1, 1],
    options: ["server", "json", "device-name"],
    run: async (words, options) => (await account()).login(words, options),
  },
  recover: {
    name: "recover",
    usage: "fastchat recover NAME --server HOST:PORT[#FINGERPRINT]",
    summary: "get your account back by its recovery key",
    help: `For when the password is lost: asks for the recovery key and for a new password,
brings your identity back and adds this device. Use an empty home. What was
written before is brought back from your archive, if you had switched that on
(fastchat archive); other messages were sealed for your other devices. The
recovery key comes from --recovery-file, a prompt or a line on standard input;
the new password from FASTCHAT_NEW_PASSWORD, --password-file, FASTCHAT_PASSWORD,
a prompt or the next line. A slip in the key is found before anything is sent.
Your other devices are told.

  --archive             bring the archive back without asking
  --recovery-file FILE  the recovery key is its first line
  --sign-out-others     end all other sessions: they need the new password

  fastchat recover alice --server chat.example.org:9000`,
    words: [1, 1],
    options: ["server", "json", "archive", "recovery-file", "sign-out-others", "device-name"],
    run: async (words, options) => (await credentials()).recover(words, options),
  },
  recovery: {
    name: "recovery",
    usage: "fastchat recovery [new] [--json]",
    summary: "whether there is a recovery key; make another",
    help: `Says since when there is a recovery key. "new" asks for the password, makes
another one and prints it, this once; the one before is void.

  --recovery-file FILE  write it to FILE (for you alone), and do not print it

  fastchat recovery new`,
    words: [0, 1],
    options: ["json", "recovery-file"],
    run: async (words, options) => (await credentials()).recovery(words, options),
  },
  archive: {
    name: "archive",
    usage: "fastchat archive [status|on|off|sync|restore]",
    summary: "keep your messages for when devices are lost",
    help: `A copy of this home's messages at the server, sealed by a key that only your
recovery key opens elsewhere. Off unless you switch it on, in each home of its
own: whoever has the recovery key and the server's help can read everything
that was archived, for ever. "recover" brings it back.

  status    what the server keeps, and what waits here
  on        asks whether you mean it, and for the recovery key; archives what
            is here, and then what comes, while a chat or "listen" runs
  off       ends it. What is at the server stays, unless you --delete it, for
            all your homes; that asks for your password
  sync      archive now what waits here
  restore   bring it back into this home. What is here already stays

  --recovery-file FILE  the recovery key is its first line
  --new-recovery-key    on: make another recovery key, and the one before void;
                        asks for your password, and prints it, or writes it to
                        the recovery file
  --yes                 on: you know what it means
  --json                one object instead of text

  fastchat archive on`,
    words: [0, 1],
    options: ["json", "yes", "delete", "recovery-file", "new-recovery-key"],
    run: async (words, options) => (await import("../archive.ts")).archive(words, options),
  },
  passwd: {
    name: "passwd",
    usage: "fastchat passwd [--sign-out-others] [--json]",
    summary: "change your password",
    help: `Asks for the old password and twice for the new one, and seals everything anew:
the backup at the server, identity.pem and this home, all or nothing. The old
password comes from --password-file, FASTCHAT_PASSWORD, a prompt or a line on
standard input; the new one from FASTCHAT_NEW_PASSWORD, a prompt or the next
line. Where it is cut off in the middle, both open this home until the next
connection tells which one counts. Homes on your other machines stay sealed by
the old one until you log in there with the new.

  --sign-out-others     end all other sessions: they need the new password

  fastchat passwd`,
    words: [0, 0],
    options: ["json", "sign-out-others"],
    run: async (words, options) => (await credentials()).passwd(words, options),
  },
} as const satisfies Record<string, Command>;
