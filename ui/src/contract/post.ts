// An enriched post as the page uses it, read from the server's JSON. The raw fields come from
// strangers: any of them may be missing, of another type, or hostile.

import { isSentiment, SENTIMENTS, TOPIC_CHARS_MAX } from './labels';
import type { Sentiment } from './labels';
import { asArray, asNumber, asObject, asShare, asText } from './read';

/** Bluesky allows 300 graphemes; a longer text is shown cut. In UTF-16 units. */
export const TEXT_CHARS_MAX = 4000;
/** AT Protocol allows a URI of 8 KiB; a post's is far shorter. */
const URI_CHARS_MAX = 1024;
/** The longest DNS name is 253, a DID 2048; a longer author is broken. */
const AUTHOR_CHARS_MAX = 2048;
const LANGUAGE_CHARS_MAX = 16;
const TOPICS_PER_POST_MAX = 19;

/** The model's verdict on a post's mood. */
export interface Verdict {
  readonly sentiment: Sentiment;
  /** 0 to 1; null where the server did not say. */
  readonly confidence: number | null;
  /** 0 to 1 for each mood; null where the server did not give all three. */
  readonly probabilities: Readonly<Record<Sentiment, number>> | null;
}

/** One enriched post. */
export interface Post {
  /** Its `at://` address; null where it has none. */
  readonly uri: string | null;
  /** A DID, or whatever name the source gave. */
  readonly author: string | null;
  /** A handle, where the source knows it. */
  readonly handle: string | null;
  readonly text: string | null;
  /** When its author says it was written, in ms since 1970; null where unreadable. */
  readonly createdAtMs: number | null;
  /** When it was enriched, in ms since 1970. */
  readonly processedAtMs: number | null;
  /** A language tag such as `en`. */
  readonly language: string | null;
  readonly verdict: Verdict | null;
  /** Topic labels, the strongest first. */
  readonly topics: readonly string[];
}

/** Reads an enriched post; null where the value is no post: neither an address nor a text. */
export function readPost(value: unknown): Post | null {
  const object = asObject(value);
  if (object === null) {
    return null;
  }
  const uri = readUri(object['uri']);
  const text = asText(object['text'], TEXT_CHARS_MAX);
  if (uri === null && text === null) {
    return null;
  }
  const processedAtS = asNumber(object['processed_at']);
  return {
    uri,
    author: asText(object['author'], AUTHOR_CHARS_MAX),
    handle: readHandle(object['handle']),
    text,
    createdAtMs: readTime(object['created_at']),
    processedAtMs: processedAtS === null ? null : processedAtS * 1000,
    language: readLanguage(object['language']),
    verdict: readVerdict(object['sentiment']),
    topics: readTopics(object['topics']),
  };
}

/** Reads a post's address; null where it is none or too long to be true. */
export function readUri(value: unknown): string | null {
  const isUri = typeof value === 'string' && value.length > 0 && value.length <= URI_CHARS_MAX;
  return isUri ? value : null;
}

// https://atproto.com/specs/handle: a DNS name of at least two labels.
const HANDLE = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/i;

function readHandle(value: unknown): string | null {
  const isHandle = typeof value === 'string' && value.length <= 253 && HANDLE.test(value);
  return isHandle ? value : null;
}

const LANGUAGE = /^[a-z]{2,3}(-[a-z0-9]{2,8})*$/i;

function readLanguage(value: unknown): string | null {
  const isLanguage = typeof value === 'string' && value.length <= LANGUAGE_CHARS_MAX;
  return isLanguage && LANGUAGE.test(value) ? value : null;
}

function readTime(value: unknown): number | null {
  // The shortest ISO date is 10 characters; anything much longer than a full one is no date.
  if (typeof value !== 'string' || value.length < 10 || value.length > 40) {
    return null;
  }
  const time = Date.parse(value);
  return Number.isNaN(time) ? null : time;
}

function readVerdict(value: unknown): Verdict | null {
  const object = asObject(value);
  if (object === null || !isSentiment(object['sentiment'])) {
    return null;
  }
  return {
    sentiment: object['sentiment'],
    confidence: asShare(object['confidence']),
    probabilities: readProbabilities(object['probabilities']),
  };
}

function readProbabilities(value: unknown): Verdict['probabilities'] {
  const object = asObject(value);
  if (object === null) {
    return null;
  }
  const probabilities = { positive: 0, neutral: 0, negative: 0 };
  for (const sentiment of SENTIMENTS) {
    const share = asShare(object[sentiment]);
    if (share === null) {
      return null;
    }
    probabilities[sentiment] = share;
  }
  return probabilities;
}

function readTopics(value: unknown): readonly string[] {
  const object = asObject(value);
  if (object === null) {
    return [];
  }
  const labels = new Set<string>();
  for (const label of [object['top_topic'], ...asArray(object['topics'], TOPICS_PER_POST_MAX)]) {
    const text = asText(label, TOPIC_CHARS_MAX);
    if (text !== null && text !== '') {
      labels.add(text);
    }
  }
  return [...labels];
}

// https://atproto.com/specs/did and /record-key: only these characters, and no other collection.
const POST_URI =
  /^at:\/\/(did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-])\/app\.bsky\.feed\.post\/([A-Za-z0-9._~:-]{1,512})$/;

/** The post's page on bsky.app; null where the address is not exactly that of a Bluesky post. */
export function postPage(uri: string | null): string | null {
  const match = uri === null ? null : POST_URI.exec(uri);
  const [, did, key] = match ?? [];
  if (did === undefined || key === undefined || key === '.' || key === '..') {
    return null;
  }
  return `https://bsky.app/profile/${did}/post/${key}`;
}
