/** One's devices and keys, and what unlocks a home. */
import type { Command } from "./command.ts";

const locks = () => import("../locks.ts");
const people = () => import("../people.ts");

export const DEVICE_COMMANDS = {
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
    run: async (words, options) => (await import("../devices.ts")).device(words, options),
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
    run: async (words, options) => (await import("../devices.ts")).identity(words, options),
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
    run: async (words, options) => (await import("../verify.ts")).fingerprint(words, options),
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
