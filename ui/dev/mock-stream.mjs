// The mock server's stream: a bounded log of made-up posts, its stats, and the browsers that
// listen. docs/reference/http-api.md says what they are to be sent.

import { moodChances, PostMaker, Random } from './made-up-posts.mjs';

/** @typedef {import('../src/contract/labels.ts').Mood} Mood */
/** @typedef {Record<string, unknown>} EnrichedPost */
/** @typedef {{ id: number, atMs: number, post: EnrichedPost }} LogRecord */
/** @typedef {Record<Mood, number>} Counts */

const LOG_MAX = 20_000;
const BUCKET_S = 5;
const WINDOW_S = 60;
const HISTORY_S = 3600;
const STATS_MS = 1000;
const HEARTBEAT_MS = 15_000;

/**
 * What one browser listens to.
 * @typedef {object} Client
 * @property {import('node:http').ServerResponse} response
 * @property {string | null} mood
 * @property {string | null} topic
 */

/** @returns {Counts} */
function noCounts() {
  return { positive: 0, neutral: 0, negative: 0, unscored: 0 };
}

/**
 * @param {EnrichedPost} post
 * @returns {Mood}
 */
export function moodOf(post) {
  const sentiment = /** @type {{ sentiment?: unknown } | null} */ (post['sentiment']);
  const mood = sentiment?.sentiment;
  return mood === 'positive' || mood === 'neutral' || mood === 'negative' ? mood : 'unscored';
}

/**
 * @param {EnrichedPost} post
 * @returns {string[]}
 */
export function topicsOf(post) {
  const topics = /** @type {{ topics?: unknown } | null} */ (post['topics'])?.topics;
  return Array.isArray(topics) ? topics.map(String) : [];
}

/** Posts, stats and listeners. */
export class MockStream {
  /** @type {LogRecord[]} */
  #log = [];
  /** @type {Map<number, Counts>} */
  #buckets = new Map();
  /** @type {Set<Client>} */
  #clients = new Set();
  #nextId = 1;
  #owed = 0;
  #maker = new PostMaker(7);
  /** @type {NodeJS.Timeout[]} */
  #timers = [];

  /** @type {Record<string, unknown>} */
  source = { kind: 'simulator', spec: 'simulator', simulated: true, state: 'running', message: null };
  /** Added to what the books say was received, to put them out of balance. */
  lost = 0;

  /** @param {{ ratePerS: number, historyRatePerS: number }} options */
  constructor({ ratePerS, historyRatePerS }) {
    this.ratePerS = ratePerS;
    this.#makeHistory(historyRatePerS);
  }

  /** How many browsers listen. */
  get clientCount() {
    return this.#clients.size;
  }

  start() {
    const tickMs = 50;
    this.#timers = [
      setInterval(() => this.#tick(tickMs), tickMs),
      setInterval(() => this.broadcast('stats', this.stats()), STATS_MS),
      setInterval(() => this.#send(': heartbeat\n\n'), HEARTBEAT_MS),
    ];
  }

  stop() {
    this.#timers.forEach(clearInterval);
    this.disconnectAll();
  }

  /** Hangs up on every browser, as a restarting server would. */
  disconnectAll() {
    for (const client of this.#clients) {
      client.response.destroy();
    }
    this.#clients.clear();
  }

  /**
   * Adds a post to the log and sends it to those who listen for its kind.
   * @param {EnrichedPost} post
   */
  publish(post) {
    const nowMs = Date.now();
    const record = { id: this.#nextId, atMs: nowMs, post };
    this.#nextId += 1;
    this.#log.push(record);
    if (this.#log.length > LOG_MAX) {
      this.#log.shift();
    }
    this.#bucket(nowMs)[moodOf(post)] += 1;
    const text = frameOf(record);
    for (const client of this.#clients) {
      if (isFor(client, post)) {
        client.response.write(text);
      }
    }
    return record.id;
  }

  /**
   * Sends an event to every browser.
   * @param {string} name
   * @param {unknown} data an object, or text that is sent as it is
   */
  broadcast(name, data) {
    this.#send(`event: ${name}\ndata: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
  }

  /**
   * Starts to send to a browser: first what it missed, or some recent posts.
   * @param {Client} client
   * @param {{ lastEventId: number | null, backfill: number }} start
   */
  listen(client, { lastEventId, backfill }) {
    client.response.write('retry: 500\n\n');
    const matching = this.#log.filter((record) => isFor(client, record.post));
    const missed =
      lastEventId === null
        ? matching.slice(matching.length - Math.min(backfill, matching.length))
        : matching.filter((record) => record.id > lastEventId);
    for (const record of missed) {
      client.response.write(frameOf(record));
    }
    this.#clients.add(client);
    client.response.on('close', () => this.#clients.delete(client));
  }

  /** @param {number} minutes */
  history(minutes) {
    const fromS = Date.now() / 1000 - minutes * 60;
    const buckets = [...this.#buckets]
      .filter(([t]) => t >= fromS)
      .sort(([a], [b]) => a - b)
      .map(([t, counts]) => ({ t, ...counts }));
    return { bucket_s: BUCKET_S, buckets };
  }

  stats() {
    const nowMs = Date.now();
    const recent = this.#log.filter((record) => record.atMs > nowMs - WINDOW_S * 1000);
    const moods = noCounts();
    /** @type {Map<string, number>} */
    const topics = new Map();
    let postsWithTopics = 0;
    for (const { post } of recent) {
      moods[moodOf(post)] += 1;
      const labels = topicsOf(post);
      postsWithTopics += labels.length > 0 ? 1 : 0;
      labels.forEach((label) => topics.set(label, (topics.get(label) ?? 0) + 1));
    }
    const bucketStart = startOfBucket(nowMs);
    return {
      now_ms: nowMs,
      window_s: WINDOW_S,
      moods,
      topics: [...topics].map(([topic, count]) => ({ topic, count })).sort((a, b) => b.count - a.count),
      posts_with_topics: postsWithTopics,
      posts_per_s: recent.filter((record) => record.atMs > nowMs - 5000).length / 5,
      bucket: { t: bucketStart, ...this.#bucket(nowMs) },
      source: this.source,
      books: this.books(),
    };
  }

  books() {
    const emitted = this.#nextId - 1;
    const enrichFiltered = { low_confidence: Math.floor(emitted / 15), no_text: Math.floor(emitted / 90) };
    const enrichDead = Math.floor(emitted / 700);
    const enrichIn = emitted + enrichFiltered.low_confidence + enrichFiltered.no_text + enrichDead + 6;
    const duplicate = Math.floor(enrichIn / 120);
    return [
      {
        flow: 'ingest',
        received: enrichIn + duplicate + 3,
        emitted: enrichIn,
        filtered: { duplicate },
        dead: 0,
        in_flight: 3,
        imbalance: 0,
      },
      {
        flow: 'enrich',
        received: enrichIn + this.lost,
        emitted,
        filtered: enrichFiltered,
        dead: enrichDead,
        in_flight: 6,
        imbalance: this.lost,
      },
    ];
  }

  /** @param {number} elapsedMs */
  #tick(elapsedMs) {
    this.#owed += (this.ratePerS * elapsedMs) / 1000;
    for (; this.#owed >= 1; this.#owed -= 1) {
      this.publish(this.#maker.next(Date.now()));
    }
  }

  /** @param {string} text */
  #send(text) {
    for (const client of this.#clients) {
      client.response.write(text);
    }
  }

  /** @param {number} atMs */
  #bucket(atMs) {
    const start = startOfBucket(atMs);
    let bucket = this.#buckets.get(start);
    if (bucket === undefined) {
      bucket = noCounts();
      this.#buckets.set(start, bucket);
      this.#buckets.delete(start - HISTORY_S);
    }
    return bucket;
  }

  /**
   * An hour of moods, and the posts of the last minute.
   * @param {number} ratePerS
   */
  #makeHistory(ratePerS) {
    if (ratePerS === 0) {
      return;
    }
    const random = new Random(11);
    const nowMs = Date.now();
    for (let atMs = nowMs - HISTORY_S * 1000; atMs < nowMs - WINDOW_S * 1000; atMs += BUCKET_S * 1000) {
      const posts = ratePerS * BUCKET_S * (1 + 0.25 * Math.sin(atMs / 900_000) + 0.1 * random.next());
      const bucket = this.#bucket(atMs);
      for (const [mood, chance] of Object.entries(moodChances(atMs))) {
        const noise = 1 + (random.next() - 0.5) * 0.25;
        bucket[/** @type {Mood} */ (mood)] = Math.round(posts * chance * noise);
      }
    }
    const count = ratePerS * WINDOW_S;
    for (let index = 0; index < count; index += 1) {
      const atMs = nowMs - ((count - index) / ratePerS) * 1000;
      const post = this.#maker.next(atMs);
      this.#log.push({ id: this.#nextId, atMs, post });
      this.#nextId += 1;
      this.#bucket(atMs)[moodOf(post)] += 1;
    }
  }
}

/** @param {number} atMs */
function startOfBucket(atMs) {
  return Math.floor(atMs / 1000 / BUCKET_S) * BUCKET_S;
}

/**
 * @param {Client} client
 * @param {EnrichedPost} post
 */
function isFor(client, post) {
  const hasMood = client.mood === null || moodOf(post) === client.mood;
  return hasMood && (client.topic === null || topicsOf(post).includes(client.topic));
}

/** @param {LogRecord} record */
function frameOf(record) {
  return `id: ${record.id}\ndata: ${JSON.stringify(record.post)}\n\n`;
}
