// The `stats` event: the whole stream's moods, topics, source and books, read from the server's JSON.

import { MOODS, TOPIC_CHARS_MAX } from './labels';
import type { Mood, MoodCounts } from './labels';
import { asArray, asCount, asNumber, asObject, asText } from './read';
import type { JsonObject } from './read';

/** More than this many topics, flows or reasons come only from a broken server. */
const TOPICS_MAX = 200;
const FLOWS_MAX = 64;
const REASONS_MAX = 100;
const NAME_CHARS_MAX = 200;
const MESSAGE_CHARS_MAX = 500;

/** How many posts of the window have a topic. */
export interface TopicCount {
  readonly topic: string;
  readonly count: number;
}

/** Moods in one short span of time. */
export interface Bucket extends MoodCounts {
  /** The bucket's start, in seconds since 1970. */
  readonly t: number;
}

/** The states of a source. */
export type SourceState = 'running' | 'connecting' | 'broken' | 'ended' | 'stopped' | 'failed';

/** Where the posts come from. */
export interface Source {
  readonly kind: string;
  readonly spec: string;
  readonly simulated: boolean;
  readonly state: SourceState;
  /** Why it no longer runs. */
  readonly message: string | null;
  /** The host that the posts come from, for sources that have one. */
  readonly host: string | null;
  /** How many intervals were reported of which the source can't prove that it saw everything. */
  readonly gaps: number;
}

/** One flow's books: what came in and how it ended. */
export interface FlowBooks {
  readonly flow: string;
  readonly received: number;
  readonly emitted: number;
  /** Counts by reason, the largest first. */
  readonly filtered: readonly { readonly reason: string; readonly count: number }[];
  readonly dead: number;
  readonly inFlight: number;
  /** What the server says is missing (or too much); must be 0. */
  readonly imbalance: number;
}

/** One `stats` event. */
export interface Stats {
  /** The server's clock, in ms since 1970. */
  readonly nowMs: number;
  /** The window that `moods` and `topics` count, in seconds. */
  readonly windowS: number;
  readonly moods: MoodCounts;
  readonly topics: readonly TopicCount[];
  readonly postsWithTopics: number;
  readonly postsPerS: number;
  readonly bucket: Bucket | null;
  readonly source: Source | null;
  readonly books: readonly FlowBooks[];
}

/** Reads a `stats` event; null where its clock, window or moods are missing or wrong. */
export function readStats(value: unknown): Stats | null {
  const object = asObject(value);
  const moods = readMoodCounts(object?.['moods']);
  const nowMs = asCount(object?.['now_ms']);
  const windowS = asNumber(object?.['window_s']);
  if (object === null || moods === null || nowMs === null || windowS === null || windowS <= 0) {
    return null;
  }
  return {
    nowMs,
    windowS,
    moods,
    topics: readTopicCounts(object['topics']),
    postsWithTopics: asCount(object['posts_with_topics']) ?? 0,
    postsPerS: Math.max(0, asNumber(object['posts_per_s']) ?? 0),
    bucket: readCurrentBucket(object['bucket'], nowMs),
    source: readSource(object['source']),
    books: readBooks(object['books']),
  };
}

/** Reads one bucket of the history; null where it is none. */
export function readBucket(value: unknown): Bucket | null {
  const counts = readMoodCounts(value);
  const t = asCount(asObject(value)?.['t']);
  return counts === null || t === null ? null : { t, ...counts };
}

/** A bucket that lies in the future would push the whole history out of the window. */
function readCurrentBucket(value: unknown, nowMs: number): Bucket | null {
  const bucket = readBucket(value);
  return bucket !== null && bucket.t * 1000 <= nowMs ? bucket : null;
}

/** A missing mood counts as 0; a wrong one makes the whole unreadable. */
function readMoodCounts(value: unknown): MoodCounts | null {
  const object = asObject(value);
  if (object === null) {
    return null;
  }
  const counts: Record<Mood, number> = { positive: 0, neutral: 0, negative: 0, unscored: 0 };
  for (const mood of MOODS) {
    const count = object[mood] === undefined ? 0 : asCount(object[mood]);
    if (count === null) {
      return null;
    }
    counts[mood] = count;
  }
  return counts;
}

function readTopicCounts(value: unknown): TopicCount[] {
  const topics = new Map<string, TopicCount>();
  for (const item of asArray(value, TOPICS_MAX)) {
    const object = asObject(item);
    const topic = asText(object?.['topic'], TOPIC_CHARS_MAX);
    const count = asCount(object?.['count']);
    if (topic !== null && topic !== '' && count !== null) {
      topics.set(topic, { topic, count });
    }
  }
  // By label where counts are equal, so that rows with equal counts do not swap places.
  return [...topics.values()].sort(
    (a, b) => b.count - a.count || (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : 0),
  );
}

const SOURCE_STATES: readonly string[] = ['running', 'connecting', 'broken', 'ended', 'stopped', 'failed'];

function readSource(value: unknown): Source | null {
  const object = asObject(value);
  const kind = asText(object?.['kind'], NAME_CHARS_MAX);
  const state = object?.['state'];
  if (object === null || kind === null || typeof state !== 'string') {
    return null;
  }
  if (!SOURCE_STATES.includes(state)) {
    return null;
  }
  return {
    kind,
    spec: asText(object['spec'], NAME_CHARS_MAX) ?? kind,
    simulated: object['simulated'] === true,
    state: state as SourceState,
    message: asText(object['message'], MESSAGE_CHARS_MAX),
    host: asText(object['host'], NAME_CHARS_MAX),
    gaps: asCount(object['gaps']) ?? 0,
  };
}

function readBooks(value: unknown): FlowBooks[] {
  const flows = new Map<string, FlowBooks>();
  for (const item of asArray(value, FLOWS_MAX)) {
    const object = asObject(item);
    const books = object === null ? null : readFlowBooks(object);
    if (books !== null) {
      flows.set(books.flow, books);
    }
  }
  return [...flows.values()];
}

function readFlowBooks(object: JsonObject): FlowBooks | null {
  const flow = asText(object['flow'], NAME_CHARS_MAX);
  const received = asCount(object['received']);
  const emitted = asCount(object['emitted']);
  const dead = asCount(object['dead']);
  const inFlight = asCount(object['in_flight']);
  const imbalance = asNumber(object['imbalance']);
  if (flow === null || received === null || emitted === null) {
    return null;
  }
  if (dead === null || inFlight === null || imbalance === null) {
    return null;
  }
  return { flow, received, emitted, filtered: readReasons(object['filtered']), dead, inFlight, imbalance };
}

function readReasons(value: unknown): FlowBooks['filtered'] {
  const reasons: { reason: string; count: number }[] = [];
  for (const [reason, entry] of Object.entries(asObject(value) ?? {}).slice(0, REASONS_MAX)) {
    const count = asCount(entry);
    if (count !== null) {
      reasons.push({ reason: asText(reason, NAME_CHARS_MAX) ?? '', count });
    }
  }
  return reasons.sort((a, b) => b.count - a.count);
}

/** How many records a flow has filtered, for whatever reason. */
export function filteredTotal(books: FlowBooks): number {
  return books.filtered.reduce((sum, { count }) => sum + count, 0);
}

/**
 * By how much a flow's books are off, from the very numbers on the screen; must be 0. Where those
 * balance, the server's own word stands: it may know of an imbalance that the counts do not show.
 */
export function imbalanceOf(books: FlowBooks): number {
  const settled = books.emitted + filteredTotal(books) + books.dead + books.inFlight;
  const difference = books.received - settled;
  return difference === 0 ? books.imbalance : difference;
}
