/** Messages: sent, received, acknowledged, and what became of them. */
import type { Command } from "./command.ts";

const states = () => import("../states.ts");
const messages = () => import("../messages.ts");

export const MESSAGE_COMMANDS = {
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
    run: async (words, options) => (await import("../acks.ts")).ack(words, options),
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
} as const satisfies Record<string, Command>;
