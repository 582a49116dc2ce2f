/** What is written down while people talk and processes die: from both ends, and from the store when all is over. */

/** A line of somebody's script, written down before it is handed to the client. */
export interface Typed {
  /** `FROM>TO#N`: the first word of the text, different for every message. */
  readonly key: string;
  readonly from: string;
  readonly to: string;
  /** Rises by one from 1 in what one person says to another. */
  readonly n: number;
  /** Of the whole text. */
  readonly hash: string;
}

/** A sender was told that a message is stored: by the answer to `send()`, or by its own history. */
export interface Acknowledged {
  readonly by: string;
  readonly key: string;
  readonly id: string;
  readonly conversation: string;
  readonly seq: number;
}

/** A message was put out in front of its receiver. */
export interface Shown {
  readonly by: string;
  /** Which process of that person, from 1: each kill begins the next one. */
  readonly life: number;
  /** The client's cursor over what it shows. */
  readonly position: number;
  readonly key: string;
  readonly hash: string;
  readonly id: string;
  readonly conversation: string;
  readonly seq: number;
}

/** The client knows that everything up to a position was put out. */
export interface Marked {
  readonly by: string;
  readonly life: number;
  readonly position: number;
}

/** What a client has of one conversation at the end, in its order. */
export interface Kept {
  readonly by: string;
  readonly conversation: string;
  readonly rows: readonly KeptRow[];
}

export interface KeptRow {
  readonly seq: number;
  readonly id: string;
  readonly key: string;
  readonly hash: string;
}

/** What the store has of one conversation at the end, in its order. */
export interface StoredLog {
  readonly conversation: string;
  /** `isCommit`: it changes the conversation's keys or members, and nobody is shown it as a message. */
  readonly rows: readonly { readonly seq: number; readonly id: string; readonly isCommit?: boolean }[];
}

/** Everything that the verdict rests on. Lists are in the order in which it was observed. */
export interface Evidence {
  readonly typed: readonly Typed[];
  readonly acknowledged: readonly Acknowledged[];
  readonly shown: readonly Shown[];
  readonly marked: readonly Marked[];
  readonly kept: readonly Kept[];
  readonly stored: readonly StoredLog[];
  /** What a client told of that must not be: rows refused, gaps, messages that failed. */
  readonly complaints: readonly string[];
  /** Processes that ended though nobody killed them, and servers that a new balancer did not take over. */
  readonly deaths: readonly string[];
}
