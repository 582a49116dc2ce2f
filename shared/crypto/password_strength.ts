/**
 * How many guesses a password is worth, roughly, and passphrases that are worth enough (SECURITY P4).
 *
 * Whoever controls a server can try one password for every scrypt, so what a dictionary would try first is refused. The
 * estimate knows a few patterns and says what it found; it is no promise, and errs by knowing too few words.
 */
import { PASSWORD_CHARS_MIN } from "../limits.ts";
import type { RandomSource } from "../primitives.ts";

/** Why a password is too weak, as a sentence for its owner; `undefined` where it will do. */
export function passwordProblem(password: string, name: string): string | undefined {
  const normal = password.normalize("NFKC");
  const length = [...normal].length;
  if (length < PASSWORD_CHARS_MIN) {
    return `Password has ${length} character${length === 1 ? "" : "s"}, needs at least ${PASSWORD_CHARS_MIN}`;
  }
  const { bits, patterns } = estimate(normal, name);
  if (bits >= BITS_MIN) return undefined;
  const why = patterns.size === 0 ? "it has too few different characters" : `it is made of ${[...patterns].join(", ")}`;
  return `Password is too easy to guess: ${why}`;
}

/** About how many bits of guessing a password is worth to somebody who knows its owner's name. */
export function passwordBits(password: string, name: string): number {
  return estimate(password.normalize("NFKC"), name).bits;
}

/**
 * A passphrase of 64 random bits that is easy to say and type: four groups of five letters, consonants and vowels in turn
 * ("proquints", arXiv:0901.4016), such as `lusab-babad-gutih-tugad`.
 */
export function generatePassphrase(random: RandomSource): string {
  const bytes = random.bytes(8);
  const groups: string[] = [];
  for (let i = 0; i < bytes.length; i += 2) groups.push(proquint((bytes[i]! << 8) | bytes[i + 1]!));
  return groups.join("-");
}

function proquint(value: number): string {
  return CONSONANTS[value >>> 12]! + VOWELS[(value >>> 10) & 3]! + CONSONANTS[(value >>> 6) & 15]! +
    VOWELS[(value >>> 4) & 3]! + CONSONANTS[value & 15]!;
}

interface Estimate {
  readonly bits: number;
  readonly patterns: ReadonlySet<string>;
}

/** The cheapest way to build the password out of known patterns and single characters: a shortest path over its prefixes. */
function estimate(password: string, name: string): Estimate {
  const plain = unleet(password.toLowerCase()), raw = password.toLowerCase();
  const characterBits = Math.log2(alphabetSize(password));
  const cost: number[] = [0];
  const via: { from: number; pattern: string | undefined }[] = [{ from: 0, pattern: undefined }];
  for (let end = 1; end <= raw.length; end++) {
    cost[end] = cost[end - 1]! + (/[ ._-]/.test(raw[end - 1]!) ? SEPARATOR_BITS : characterBits);
    via[end] = { from: end - 1, pattern: undefined };
    for (let from = Math.max(0, end - PATTERN_CHARS_MAX); from <= end - 3; from++) {
      const found = patternAt(raw, plain, from, end, name.toLowerCase());
      if (found === undefined || cost[from]! + found.bits >= cost[end]!) continue;
      cost[end] = cost[from]! + found.bits;
      via[end] = { from, pattern: found.pattern };
    }
  }
  const patterns = new Set<string>();
  for (let at = raw.length; at > 0; at = via[at]!.from) {
    const pattern = via[at]!.pattern;
    if (pattern !== undefined) patterns.add(pattern);
  }
  return { bits: cost[raw.length]!, patterns };
}

function patternAt(
  raw: string,
  plain: string,
  from: number,
  end: number,
  name: string,
): { bits: number; pattern: string } | undefined {
  const piece = raw.slice(from, end), word = plain.slice(from, end);
  if (name.length >= 3 && (piece === name || word === name)) return { bits: 2, pattern: "your name" };
  if (WORDS.has(word) || WORDS.has(piece)) return { bits: WORD_BITS, pattern: "common words" };
  if (isRun(piece)) return { bits: 5, pattern: "sequences" };
  if (piece.length === 4 && /^(?:19|20)\d\d$/.test(piece)) return { bits: 6, pattern: "a year" };
  if (isWordLike(raw, from, end)) return { bits: UNKNOWN_WORD_BITS, pattern: "few words" };
  // What was already there once more: only how often is left to guess.
  if (from >= piece.length && raw.slice(from - piece.length, from) === piece) return { bits: 1, pattern: "repetition" };
  return undefined;
}

/** `aaa`, `abc`, `cba`, `135`, and neighbours on a keyboard's row in either direction. */
function isRun(piece: string): boolean {
  const step = piece.charCodeAt(1) - piece.charCodeAt(0);
  if (Math.abs(step) <= 2) {
    let even = true;
    for (let i = 2; even && i < piece.length; i++) even = piece.charCodeAt(i) - piece.charCodeAt(i - 1) === step;
    if (even) return true;
  }
  return KEYBOARD.some((row) => row.includes(piece));
}

/** A whole run of letters that could be said aloud: some dictionary has it. */
function isWordLike(raw: string, from: number, end: number): boolean {
  if (end - from < 3 || isLetter(raw[from - 1]) || isLetter(raw[end])) return false;
  const piece = raw.slice(from, end);
  return /^[a-z]+$/.test(piece) && /[aeiouy]/.test(piece) && !/[^aeiouy]{5}|[aeiou]{4}/.test(piece);
}

function isLetter(character: string | undefined): boolean {
  return character !== undefined && /[a-z]/.test(character);
}

function alphabetSize(password: string): number {
  const size = (/[a-z]/.test(password) ? 26 : 0) + (/[A-Z]/.test(password) ? 26 : 0) +
    (/[0-9]/.test(password) ? 10 : 0) +
    (/[ -/:-@[-`{-~]/.test(password) ? 20 : 0) + (/[^ -~]/.test(password) ? 100 : 0);
  // However many are possible, no more than twice as many as are used: `aabbaabbaabb` has two.
  return Math.max(2, Math.min(size, 4 * new Set(password).size));
}

function unleet(text: string): string {
  return text.replace(/[013457@$!]/g, (character) => LEET[character]!);
}

/** 2^36 scrypts of 0.4 s are some 870 years of one core: months for somebody with a rack, too long to be worth most chats. */
const BITS_MIN = 36;
const WORD_BITS = 9;
const UNKNOWN_WORD_BITS = 15;
/** People put one between words, and the same one each time. */
const SEPARATOR_BITS = 3;
const PATTERN_CHARS_MAX = 32;
const CONSONANTS = "bdfghjklmnprstvz";
const VOWELS = "aiou";
const LEET: Readonly<Record<string, string>> = {
  "0": "o",
  "1": "i",
  "3": "e",
  "4": "a",
  "5": "s",
  "7": "t",
  "@": "a",
  "$": "s",
  "!": "i",
};
const ROWS = [
  "qwertyuiop",
  "asdfghjkl",
  "zxcvbnm",
  "1234567890",
  "qwertzuiop",
  "yxcvbnm",
  "azertyuiop",
  "1qaz2wsx3edc4rfv",
];
const KEYBOARD = ROWS.flatMap((row) => [row, [...row].reverse().join("")]);
/** What lists of leaked passwords begin with, as stems; digits and repetition around them are patterns of their own. */
const WORDS = new Set(
  `password passwort passwd pass passw word secret geheim letmein welcome willkommen hello hallo hi login admin administrator
  root user username guest test testing default master super superman batman spiderman dragon monkey tiger lion eagle falcon
  football baseball basketball soccer hockey golf chelsea arsenal liverpool barcelona yankees cowboys lakers rangers
  princess prince queen king angel devil heaven love lover loveme iloveyou iloveu love you forever baby babygirl honey sweet
  sweetheart darling flower sunshine summer winter spring autumn monday tuesday wednesday thursday friday saturday sunday
  january february march april may june july august september october november december shadow ghost hunter killer ninja
  samurai wizard merlin gandalf starwars pokemon pikachu naruto matrix computer internet google facebook apple windows
  linux ubuntu samsung nokia iphone android microsoft mustang ferrari porsche mercedes toyota harley yamaha corvette
  michael michelle jessica jennifer jordan daniel david robert thomas charlie george andrew joshua matthew ashley amanda
  nicole jasmine hannah samantha anthony william richard martin patrick alexander alex chris john james jack harry peter
  maria anna laura sarah emma julia alice bob carol dave eve mallory fuck fuckyou fucker bitch asshole sexy pussy whatever
  nothing trustno trustnoone qwerty qwertz azerty asdf zxcv qazwsx access changeme change me mypassword my the and
  correct horse battery staple correcthorsebatterystaple freedom money business cookie cheese chocolate banana orange cherry
  pepper ginger coffee pizza buster bailey maggie tigger snoopy mickey donald winnie lovely friends family music guitar
  rock metallica nirvana blink green blue black white silver golden purple yellow diamond crystal fast chat fastchat server
  client message private public london paris berlin america england germany france canada mexico brasil india china
  phoenix thunder lightning rainbow ocean river mountain flying happy lucky magic dream dreams star stars moon
  sparky doggy puppy kitty kitten cats dogs fish bear wolf horse`.split(/\s+/).filter((word) => word.length >= 3),
);
