// The page's state and its one connection to the server. Components read its fields and call its
// methods; nothing else talks to the server.

import { HISTORY_MINUTES_MAX, readHistory } from '../contract/history';
import type { Mood } from '../contract/labels';
import type { Bucket, Stats } from '../contract/stats';
import { readStreamEvent } from '../contract/events';
import { Connection } from '../stream/connection';
import type { ConnectionState, ConnectionWorld } from '../stream/connection';
import type { SseEvent } from '../stream/sse-parser';
import { Feed } from './feed';
import type { FeedEntry, Pace } from './feed';
import { NO_FILTERS, queryOfFilters, sameFilters, streamUrl } from './filters';
import type { Filters } from './filters';
import { withNotice, withoutNotice } from './notices';
import type { Notice } from './notices';
import { Timeline } from './timeline';

/** The list is brought up to date this often at most: smooth to the eye, cheap at any rate. */
export const FLUSH_INTERVAL_MS = 250;
/** Ages and countdowns tick. */
const TICK_MS = 1_000;
const HISTORY_TIMEOUT_MS = 10_000;
/** A history that could not be loaded is asked for again this much later. */
const HISTORY_RETRY_MS = 5_000;
/** Further down than this, the reader is reading, and the list must hold still. In CSS pixels. */
const SCROLLED_AWAY_PX = 24;

/** What the dashboard needs from the browser; a test brings its own. */
export interface DashboardWorld extends ConnectionWorld {
  /** Calls back before the next frame is drawn. */
  requestFrame(callback: () => void): void;
  /** Puts a new entry with this query into the browser's history. */
  pushQuery(query: string): void;
}

/** Who has paused the list: the reader, or the fact that it is scrolled. */
export type PauseCause = 'reader' | 'scroll';

/** Everything that the page shows. */
export class Dashboard {
  connection = $state.raw<ConnectionState>({ kind: 'connecting', loss: null });
  stats = $state.raw<Stats | null>(null);
  /** When `stats` came, by this browser's clock, in ms. */
  statsAtMs = $state(0);
  buckets = $state.raw<readonly Bucket[]>([]);
  bucketS = $state(0);
  history = $state<'loading' | 'ready' | 'failed'>('loading');
  posts = $state.raw<readonly FeedEntry[]>([]);
  waitingCount = $state(0);
  waitingKept = $state(0);
  passedBy = $state(0);
  pausedBy = $state<PauseCause | null>(null);
  filters = $state.raw<Filters>(NO_FILTERS);
  notices = $state.raw<readonly Notice[]>([]);
  /** This browser's clock, ticking every second, in ms. */
  nowMs = $state(0);
  /** How far the server's clock is ahead of this browser's, in ms. */
  clockAheadMs = $state(0);

  readonly #world: DashboardWorld;
  readonly #connection: Connection;
  readonly #feed = new Feed();
  readonly #timeline = new Timeline();
  #tickTimer: ReturnType<typeof setInterval> | null = null;
  #flushTimer: ReturnType<typeof setTimeout> | null = null;
  #historyRequest: AbortController | null = null;
  #historyRetryAtMs = 0;
  #wasLost = false;

  constructor(world: DashboardWorld, pace: Pace) {
    this.#world = world;
    this.#feed.pace = pace;
    this.#connection = new Connection(world, {
      onState: (state) => this.#takeState(state),
      onEvent: (event) => this.#takeEvent(event),
      onOversized: (events) => this.#note({ kind: 'unreadable', events }),
      onSkipped: (awayMs) => this.#note({ kind: 'skipped', awayMs }),
    });
    this.nowMs = world.now();
    this.bucketS = this.#timeline.bucketS;
  }

  /** The server's clock as far as this browser can tell, in ms. */
  get serverNowMs(): number {
    return this.nowMs + this.clockAheadMs;
  }

  /** Whether the posts are made up; null before the server has said so. */
  get isSimulated(): boolean | null {
    return this.stats?.source?.simulated ?? null;
  }

  /** Connects. */
  start(filters: Filters): void {
    this.filters = filters;
    this.#tickTimer = setInterval(() => {
      this.nowMs = this.#world.now();
    }, TICK_MS);
    this.#connection.open(streamUrl(filters));
    void this.#loadHistory(HISTORY_MINUTES_MAX);
  }

  /** Disconnects and ends every timer. */
  stop(): void {
    this.#connection.close();
    this.#historyRequest?.abort();
    if (this.#tickTimer !== null) {
      clearInterval(this.#tickTimer);
    }
    if (this.#flushTimer !== null) {
      clearTimeout(this.#flushTimer);
    }
    this.#tickTimer = null;
    this.#flushTimer = null;
  }

  /** Tries to connect again without waiting. */
  retryNow(): void {
    this.#connection.retryNow();
  }

  /** Narrows the list, and puts that into the page's address. */
  setFilters(filters: Filters): void {
    if (!sameFilters(filters, this.filters)) {
      this.#world.pushQuery(queryOfFilters(filters));
      this.showFilters(filters);
    }
  }

  /** Narrows the list to what the page's address says. */
  showFilters(filters: Filters): void {
    if (sameFilters(filters, this.filters)) {
      return;
    }
    this.filters = filters;
    // At once, and the queue too: no post of the old filters may appear under the new ones.
    this.#feed.clear();
    this.#feed.isPaused = false;
    this.pausedBy = null;
    this.notices = [];
    this.#showFeed();
    this.#connection.open(streamUrl(filters));
  }

  /** Narrows the list to a mood, or widens it again. */
  toggleMood(mood: Mood): void {
    this.setFilters({ ...this.filters, mood: this.filters.mood === mood ? null : mood });
  }

  /** Narrows the list to a topic, or widens it again. */
  toggleTopic(topic: string): void {
    this.setFilters({ ...this.filters, topic: this.filters.topic === topic ? null : topic });
  }

  /** Holds the list still. The connection stays open, and new posts wait. */
  pause(cause: PauseCause): void {
    this.#feed.isPaused = true;
    // The reader's own pause outlasts scrolling.
    this.pausedBy = this.pausedBy === 'reader' ? 'reader' : cause;
  }

  /** Lets the list go on, with everything that has waited. */
  resume(): void {
    this.#feed.resume();
    this.pausedBy = null;
    this.#showFeed();
  }

  /** Takes note of how far the list is scrolled down, in CSS pixels. */
  scrolled(topPx: number): void {
    if (topPx > SCROLLED_AWAY_PX && this.pausedBy === null) {
      this.pause('scroll');
    } else if (topPx < 1 && this.pausedBy === 'scroll') {
      this.resume();
    }
  }

  /** How fast posts come onto the screen. */
  setPace(pace: Pace): void {
    this.#feed.pace = pace;
    this.#scheduleFlush();
  }

  /** Takes a notice off the screen. */
  dismiss(kind: Notice['kind']): void {
    this.notices = withoutNotice(this.notices, kind);
  }

  #takeState(state: ConnectionState): void {
    this.connection = state;
    this.nowMs = this.#world.now();
    if (state.kind === 'waiting') {
      this.#wasLost = true;
    } else if (state.kind === 'live' && this.#wasLost) {
      this.#wasLost = false;
      // The buckets of the time without a connection are missing.
      void this.#loadHistory(HISTORY_MINUTES_MAX);
    }
  }

  #takeEvent(event: SseEvent): void {
    const read = readStreamEvent(event.name, event.id, event.data);
    switch (read.kind) {
      case 'post':
        this.#feed.receive(read.id, read.post);
        this.#scheduleFlush();
        break;
      case 'stats':
        this.#takeStats(read.stats);
        break;
      case 'deleted':
        this.#feed.remove(read.uri);
        this.#showFeed();
        break;
      case 'dropped':
        this.#note({ kind: 'dropped', posts: read.count });
        break;
      case 'gap':
        this.#note({ kind: 'gap', posts: read.to - read.from + 1, reason: read.reason });
        break;
      case 'unreadable':
        this.#note({ kind: 'unreadable', events: 1 });
        break;
      case 'unknown':
        break;
    }
  }

  #takeStats(stats: Stats): void {
    this.stats = stats;
    this.nowMs = this.#world.now();
    this.statsAtMs = this.nowMs;
    this.clockAheadMs = stats.nowMs - this.nowMs;
    if (stats.bucket !== null) {
      const isNewBucket = this.#timeline.grow(stats.bucket);
      this.buckets = this.#timeline.buckets;
      if (isNewBucket && this.history === 'ready') {
        // For the final counts of the bucket that has just ended.
        void this.#loadHistory(1);
      }
    }
    if (this.history === 'failed' && this.nowMs >= this.#historyRetryAtMs) {
      void this.#loadHistory(HISTORY_MINUTES_MAX);
    }
  }

  async #loadHistory(minutes: number): Promise<void> {
    // A request under way is for at least as much, unless this one is for everything.
    if (this.#historyRequest !== null && minutes < HISTORY_MINUTES_MAX) {
      return;
    }
    this.#historyRequest?.abort();
    const request = new AbortController();
    this.#historyRequest = request;
    const history = await this.#fetchHistory(minutes, request.signal);
    if (this.#historyRequest !== request) {
      return;
    }
    this.#historyRequest = null;
    if (history === null) {
      // Short updates may fail: what is on the screen stays right to within a second.
      this.history = this.history === 'ready' && minutes < HISTORY_MINUTES_MAX ? 'ready' : 'failed';
      this.#historyRetryAtMs = this.#world.now() + HISTORY_RETRY_MS;
      return;
    }
    this.history = 'ready';
    this.#timeline.merge(history);
    this.buckets = this.#timeline.buckets;
    this.bucketS = this.#timeline.bucketS;
  }

  async #fetchHistory(minutes: number, signal: AbortSignal) {
    try {
      const response = await this.#world.fetch(`api/history?minutes=${minutes}`, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(HISTORY_TIMEOUT_MS)]),
        cache: 'no-store',
      });
      return response.ok ? readHistory(await response.json()) : null;
    } catch {
      return null;
    }
  }

  #note(notice: Notice): void {
    this.notices = withNotice(this.notices, notice);
  }

  /**
   * Brings the list up to date, with the next frame and not too often. While the tab is hidden no
   * frame comes; the feed's queue is bounded, so waiting for one costs nothing.
   */
  #scheduleFlush(): void {
    if (this.#flushTimer !== null) {
      return;
    }
    this.#flushTimer = setTimeout(() => {
      this.#world.requestFrame(() => {
        if (this.#flushTimer === null) {
          return;
        }
        this.#flushTimer = null;
        this.#feed.flush(this.#world.now());
        this.#showFeed();
        if (this.#feed.waitingCount > 0 && !this.#feed.isPaused) {
          this.#scheduleFlush();
        }
      });
    }, FLUSH_INTERVAL_MS);
  }

  #showFeed(): void {
    this.posts = this.#feed.shown;
    this.waitingCount = this.#feed.waitingCount;
    this.waitingKept = this.#feed.waitingKept;
    this.passedBy = this.#feed.passedBy;
  }
}
