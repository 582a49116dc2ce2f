/**
 * The table of commands: name, usage, words, options, help, handler. It feeds the command line, `--help` and suggestions.
 * Handlers are loaded when they are called, so that `--help` and mistakes answer at once.
 */
import { GROUP_ACTS, type GroupAct } from "./group_acts.ts";
import type { Options } from "./options.ts";
import { VERSION } from "../shared/version.ts";

export interface Command {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  /** A screen of help: what it does, then an example. */
  readonly help: string;
  /** How many words may follow: at least and at most. */
  readonly words: readonly [number, number];
  /** Options beside the common ones. */
  readonly options: readonly string[];
  /** @returns An exit code where it told of failures itself. */
  run(words: readonly string[], options: Options): Promise<number | void>;
}

const account = () => import("./commands/account.ts");
const credentials = () => import("./commands/credentials.ts");
const states = () => import("./commands/states.ts");
const messages = () => import("./commands/messages.ts");
const locks = () => import("./commands/locks.ts");
const people = () => import("./commands/people.ts");

export const COMMANDS = {
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
    run: async (words, options) => (await import("./commands/chat.ts")).chat(words, options),
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
    run: async (words, options) => (await import("./commands/archive.ts")).archive(words, options),
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
  send: {
    name: "send",
    usage: "fastchat send NAME|'#GROUP' TEXT|- [--json]",
    summary: "send a message; prints its id once it is stored",
    help: `Sends TEXT to NAME or to a group, or standard input where TEXT is "-" (one
newline at its end is left out). Prints the message id once the server has
stored the message on disk. Up to 1 MiB of UTF-8. A text that begins with a dash
goes behind "--"; a group's # goes into quotes, or the shell takes it for a
comment.

  fastchat send bob "see you at ten"
  fastchat send '#dev' "it is green"
  git log -1 | fastchat send bob -`,
    words: [2, 2],
    options: ["json"],
    run: async (words, options) => (await messages()).send(words, options),
  },
  recv: {
    name: "recv",
    usage: "fastchat recv [--wait SECONDS] [--json]",
    summary: "print what arrived since last time",
    help: `Prints what arrived since last time, oldest first, once. With nothing there it
waits up to SECONDS for the first message. Nothing is no error: the exit code
is 0.

  fastchat recv --wait 30 --json`,
    words: [0, 0],
    options: ["wait", "json"],
    run: async (words, options) => (await messages()).recv(words, options),
  },
  listen: {
    name: "listen",
    usage: "fastchat listen [--presence] [--json [--ack manual]]",
    summary: "print messages as they come, until interrupted",
    help: `Prints what arrived since last time and then every message as it comes, until
Ctrl-C. Other commands may use the same home meanwhile. With --json, changes of
the connection and notices are lines too; with --presence also who of those you
talk with comes, goes and types.

  fastchat listen --json | while read -r line; do …; done

Printed is shown: a script that dies with a line in its hands has lost it. With
--ack manual a message is printed again until "fastchat ack" was called for it:
at the next start at once, while listening after --ack-after SECONDS (60).
"delivery" in the line counts how often; above 1 a script may have seen it, and
the id tells. Several listeners share the work: one has a message at a time.

  fastchat listen --json --ack manual | while read -r line; do
    handle "$line" && printf '%s\\n' "$line"
  done | fastchat ack -

  --ack-after SECONDS   how long a message may take, counted from its printing
  --window N            messages printed and not acknowledged at a time (1000);
                        with 1, several listeners share them fairly`,
    words: [0, 0],
    options: ["json", "ack", "ack-after", "window", "presence"],
    run: async (words, options) => (await messages()).listen(words, options),
  },
  ack: {
    name: "ack",
    usage: "fastchat ack ID...|- [--json]",
    summary: "say that messages are dealt with: see listen --ack",
    help: `Acknowledges messages that "fastchat listen --json --ack manual" printed: it
never prints them again. With "-" it reads standard input as it comes, an id or
a whole line of that listener on each line. Works offline, and once is enough:
acknowledging twice is no mistake. For an id that no listener printed it says so
and ends with 2; the others are acknowledged all the same.

  fastchat listen --json --ack manual | while read -r line; do
    handle "$line" && printf '%s\\n' "$line"
  done | fastchat ack -`,
    words: [1, 10_000],
    options: ["json"],
    run: async (words, options) => (await import("./commands/acks.ts")).ack(words, options),
  },
  history: {
    name: "history",
    usage: "fastchat history NAME|'#GROUP' [--limit N] [--json]",
    summary: "what you and NAME wrote, or a group's members",
    help: `Prints the newest N messages (50 without --limit) of your conversation with
NAME or in a group, sent and received, oldest first, with what changed in the
group in between. Works offline, with what this home has received.

  fastchat history bob --limit 10`,
    words: [1, 1],
    options: ["limit", "json"],
    run: async (words, options) => (await messages()).history(words, options),
  },
  status: {
    name: "status",
    usage: "fastchat status ID [--json]",
    summary: "how far a message of yours has come",
    help: `Tells where the message with that id has got to: queued (in the outbox), stored
(the server has it on disk), delivered (everybody has it on a device), read
(they say so; it is theirs to choose), or failed, and why. Asks the server for
news first; without a connection it tells what this home knows.

  fastchat status "$(fastchat send bob hello)"`,
    words: [1, 1],
    options: ["json"],
    run: async (words, options) => (await states()).status(words, options),
  },
  outbox: {
    name: "outbox",
    usage: "fastchat outbox [--json] | fastchat outbox drop ID",
    summary: "what is not sent yet, or was given up",
    help: `Lists what was given to send and is not stored: queued, or given up for a reason
(kept for a day). What is queued is sent by the next fastchat that connects.
"drop" takes one out; one that has left already stays until its fate is known.

  fastchat outbox`,
    words: [0, 2],
    options: ["json"],
    run: async (words, options) => (await states()).outbox(words, options),
  },
  settings: {
    name: "settings",
    usage: "fastchat settings [NAME [on|off]] [--json]",
    summary: "whether others see what you have read, and type",
    help: `With read-receipts on, those who wrote to you are told how far you have read: up
to what a chat, recv or listen has shown here. It is off until you say
otherwise, and what was told stays told.

With typing on, as it is until you say otherwise, those you write to see that
you are typing. Without a name it prints both.

  fastchat settings read-receipts on
  fastchat settings typing off`,
    words: [0, 2],
    options: ["json"],
    run: async (words, options) => (await states()).settings(words, options),
  },
  group: {
    name: "group",
    usage: "fastchat group VERB NAME …",
    summary: "make a group, let people in and out",
    help: `Groups are encrypted like everything else: the server does not know what they
are called, nor what is said, nor can it let anybody in. Whoever is taken out
cannot read what comes afterwards. NAME may stand with or without its #; in a
shell, a word that begins with # goes into quotes.

${GROUP_ACTS.map(groupHelp).join("\n")}

  --yes     delete without asking
  --json    one object: the group as it is then

  fastchat group create dev alice bob
  fastchat send '#dev' "hello everybody"
  fastchat history '#dev'`,
    words: [1, 10_000],
    options: ["json", "yes"],
    run: async (words, options) => (await import("./commands/groups.ts")).group(words, options),
  },
  groups: {
    name: "groups",
    usage: "fastchat groups [--json]",
    summary: "the groups you are in",
    help: `Lists your groups: how many are in each, how many of them you have verified,
your role, the topic. Works offline.

  fastchat groups`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await import("./commands/groups.ts")).groups(options),
  },
  chats: {
    name: "chats",
    usage: "fastchat chats [--json]",
    summary: "whom you talk with, what is new, who is verified",
    help: `Lists your conversations, the newest first: when the last message came, how many
are new, and whether you have verified who it is (see "fastchat verify"). Works
offline.

  fastchat chats`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await people()).chats(options),
  },
  users: {
    name: "users",
    usage: "fastchat users [--json]",
    summary: "everybody on the server",
    help: `Lists everybody who has signed up, who of them is online, and whom you have
verified.`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await people()).users(options, false),
  },
  online: {
    name: "online",
    usage: "fastchat online [--json]",
    summary: "who is online",
    help: `Lists who is online now.`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await people()).users(options, true),
  },
  verify: {
    name: "verify",
    usage: "fastchat verify NAME [--number DIGITS | --yes | --unverify]",
    summary: "compare safety numbers: is it really NAME?",
    help: `Shows the safety number of NAME and you: 60 digits, the same on both screens
unless somebody is in between. Compare them in person or by phone, or scan the
code with something that reads text. Then NAME is marked as verified, until
their key changes.

  --number DIGITS   compare these, which NAME's screen shows, or the text of the
                    scanned code; white space does not matter. Where NAME's key
                    had changed, equal digits accept the new one. Others: exit
                    code 6, and nothing is marked
  --yes             you have compared them: mark NAME without asking
  --unverify        take the mark away
  --no-qr           no code; without a terminal there is none anyway
  --json            one object; it asks nothing, and marks only by the above

  fastchat verify bob
  fastchat verify bob --number "12345 67890 …"`,
    words: [1, 1],
    options: ["number", "yes", "unverify", "no-qr", "json"],
    run: async (words, options) => (await import("./commands/verify.ts")).verify(words, options),
  },
  device: {
    name: "device",
    usage: "fastchat device [list|link|rename|approve|share|revoke|policy] [WHAT]",
    summary: "your devices: names, approval, revocation",
    help: `Lists your devices as the key log has them. ID is the first digits of a
device's id, or its name.

  rename NAME      what this device is called; your other devices see it, and
                   the server
  approve ID       a device that was added by password alone is yours: it is no
                   longer shown as one to look at
  link             on a new machine, with --server HOST:PORT[#FINGERPRINT]:
                   shows a code, and is your device as soon as another one of
                   yours was given it. No password is typed here
  approve CODE     lets the device in that shows it. Asks for your password
  link NAME --compare, and approve --compare
                   the same with nothing to type off: both show six digits, and
                   each asks whether the other one shows them, too. One attempt,
                   two minutes; whatever goes wrong, begin anew on both
  share ID         hands that device what was said between you and others before
                   it came, as this one's copy; with --since 2026-11-23 nothing
                   from before that day. Groups do that by themselves, where
                   they share (fastchat group history). Not to a device that was
                   added by password alone, for a day or until you approve it
  revoke ID        a device is yours no longer: its sessions end at once, nobody
                   seals for it any more. Asks for your password. For good: to
                   use that machine again, log in there from an empty home
  policy approve   a new device counts for nothing until another one approves
                   it. "policy open" takes that back. Asks for your password

  --compare        with link and approve: by six digits on both screens
  --with-history   with approve: share with it, too
  --since DAY      with share: how far back
  --device-name N  with link: what it is called, by default as its machine
  --no-qr          with link: no QR code
  --yes            revoke this very device without asking
  --json           one JSON object a line

  fastchat device list
  fastchat device revoke 3fa91c22`,
    words: [0, 16],
    options: ["json", "yes", "server", "device-name", "no-qr", "since", "with-history", "compare"],
    run: async (words, options) => (await import("./commands/devices.ts")).device(words, options),
  },
  identity: {
    name: "identity",
    usage: "fastchat identity rotate [--yes] [--json]",
    summary: "a new identity, signed by the old one",
    help: `Makes a new identity key and signs it with the old one: for when somebody may
have had the old one. Your other devices must log in again; those you talk with
are told, and send nothing until they accept it. Your recovery key is replaced,
too. Asks for your password.

  fastchat identity rotate`,
    words: [1, 1],
    options: ["json", "yes"],
    run: async (words, options) => (await import("./commands/devices.ts")).identity(words, options),
  },
  fingerprint: {
    name: "fingerprint",
    usage: "fastchat fingerprint [NAME] [--json]",
    summary: "your key's fingerprint, or NAME's",
    help: `Prints the SHA-256 fingerprint of your identity key, or of NAME's as this home
knows it. Works offline. To be sure of somebody, "fastchat verify" is easier.

  fastchat fingerprint`,
    words: [0, 1],
    options: ["json"],
    run: async (words, options) => (await import("./commands/verify.ts")).fingerprint(words, options),
  },
  agent: {
    name: "agent",
    usage: "fastchat agent [--timeout SECONDS]",
    summary: "unlock for the rest of the session",
    help: `Asks for the password and leaves a small process behind that keeps this home
unlocked: other commands need no password then. It ends with your session on
this machine, with "fastchat lock", or when nobody needed it for SECONDS
(28800: 8 hours). The commands that ask you for a password on a terminal start
it by themselves; --no-agent keeps them from it.

  --foreground    stay here, for a service manager
  --stdin         the home's key comes on standard input: what fastchat does

  fastchat agent --timeout 3600`,
    words: [0, 0],
    options: ["foreground", "stdin"],
    run: async (words, options) => (await locks()).agent(words, options),
  },
  lock: {
    name: "lock",
    usage: "fastchat lock",
    summary: "ask for the password again from now on",
    help: `Ends the agent that keeps this home unlocked. Chats and listeners that run
already go on until they end.`,
    words: [0, 0],
    options: [],
    run: async (words, options) => (await locks()).lock(words, options),
  },
  token: {
    name: "token",
    usage: "fastchat token create FILE | list | revoke FILE|NUMBER",
    summary: "unlock without a password, for scripts",
    help: `A token file unlocks this home in place of the password: give it to scripts with
--token-file FILE or FASTCHAT_TOKEN_FILE. Whoever reads that file and this home
is you, without a password: it is made with mode 0600 and refused with any
other. "list" names those that there are, "revoke" ends one; who copied home and
token before that keeps what was in the copy.

  fastchat token create ~/.config/bot.token
  FASTCHAT_TOKEN_FILE=~/.config/bot.token fastchat send bob "the build is green"
  fastchat token revoke ~/.config/bot.token`,
    words: [1, 2],
    options: ["json"],
    run: async (words, options) => (await locks()).token(words, options),
  },
  trust: {
    name: "trust",
    usage: "fastchat trust NAME|'#GROUP' | fastchat trust --server HOST:PORT",
    summary: "accept a changed key, after you compared it",
    help: `When a person's or a server's key changes, fastchat stops and shows both
fingerprints: somebody may be in between. Ask the person (or whoever runs the
server) in another way whether the new fingerprint is theirs; then accept it
with this command. It is accepted, not verified: "fastchat verify" does that,
and where it compares digits it accepts the key too.

Where the members of a conversation were shown different things, nothing is sent
there any more, because the server may be lying. Find out with them; then this
command, with NAME or the group, goes on.

  fastchat trust bob
  fastchat trust --server chat.example.org:9000`,
    words: [0, 1],
    options: ["server", "json"],
    run: async (words, options) => (await people()).trust(words, options),
  },
} as const satisfies Record<string, Command>;

function groupHelp({ verb, group, words, summary }: GroupAct): string {
  const usage = [verb, group === "none" ? "" : "NAME", words].filter((part) => part !== "").join(" ");
  return `  ${usage.padEnd(24)}${summary}`;
}

/** The command of that name. */
export function findCommand(name: string): Command | undefined {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name as keyof typeof COMMANDS] : undefined;
}

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
