// The live list: which posts are on the screen, which wait, and which will not be shown.
//
// New posts wait in one short queue, whether the list is live or paused. `flush` moves them to the
// list. Both are bounded; what does not fit is counted, so that the page can say so.

import type { Post } from '../contract/post';

/** How many posts are on the screen at most. */
export const SHOWN_MAX = 100;
/** More than fits on the screen is not kept waiting either. */
export const WAITING_MAX = SHOWN_MAX;
/** Addresses remembered to tell a post that comes twice: far more than a resumed stream repeats. */
const SEEN_MAX = 4096;

/**
 * How fast posts come onto the screen. At `calm` pace at most `CALM_POSTS_PER_S` in the long run,
 * because nobody can read fifty a second; at `every` pace all that arrive.
 */
export type Pace = 'calm' | 'every';
export const CALM_POSTS_PER_S = 2;
/** A short burst is shown whole, so that the first posts fill the list at once. */
export const CALM_BURST = 30;

/** A post with its place in the list. */
export interface FeedEntry {
  /** Unique on this page, larger for later posts. */
  readonly key: number;
  /** The record's sequence in the enriched stream, as the server sent it. */
  readonly id: string | null;
  readonly post: Post;
}

/** The list and its queue. It holds no timer: whoever owns it calls `flush`. */
export class Feed {
  /** On the screen, newest first. Replaced, never changed in place. */
  shown: readonly FeedEntry[] = [];
  /** Posts that came in and were passed by: at calm pace, or because a pause was long. */
  passedBy = 0;
  pace: Pace = 'calm';
  isPaused = false;

  /** Oldest first. */
  #waiting: FeedEntry[] = [];
  /** What the queue could not hold since the last flush. */
  #overflow = 0;
  /** Insertion order is age order. */
  #seen = new Set<string>();
  #nextKey = 1;
  #allowance = CALM_BURST;
  #lastFlushMs: number | null = null;

  /** How many posts have come in that are not on the screen yet. */
  get waitingCount(): number {
    return this.#waiting.length + this.#overflow;
  }

  /** How many of those can still be shown. */
  get waitingKept(): number {
    return this.#waiting.length;
  }

  /** Takes in a post; false where it was there already. */
  receive(id: string | null, post: Post): boolean {
    if (!this.#remember(post.uri ?? `#${id ?? this.#nextKey}`)) {
      return false;
    }
    this.#waiting.push({ key: this.#nextKey, id, post });
    this.#nextKey += 1;
    if (this.#waiting.length > WAITING_MAX) {
      this.#waiting.shift();
      this.#overflow += 1;
    }
    return true;
  }

  /** Takes a deleted post off the list and out of the queue, and does not let it come back. */
  remove(uri: string): void {
    this.#remember(uri);
    this.#waiting = this.#waiting.filter((entry) => entry.post.uri !== uri);
    if (this.shown.some((entry) => entry.post.uri === uri)) {
      this.shown = this.shown.filter((entry) => entry.post.uri !== uri);
    }
  }

  /** Moves what the pace allows to the list; true where the list or a count has changed. */
  flush(nowMs: number): boolean {
    const sinceMs = nowMs - (this.#lastFlushMs ?? nowMs);
    this.#lastFlushMs = nowMs;
    const earned = (Math.max(sinceMs, 0) / 1000) * CALM_POSTS_PER_S;
    this.#allowance = Math.min(this.#allowance + earned, CALM_BURST);
    if (this.isPaused || this.waitingCount === 0) {
      return false;
    }
    const limit = this.pace === 'calm' ? Math.floor(this.#allowance) : WAITING_MAX;
    if (limit === 0) {
      return false;
    }
    // The newest are shown: a live page must not fall behind.
    this.#allowance -= Math.min(limit, this.#waiting.length, this.#allowance);
    this.#show(this.#waiting.slice(-limit));
    return true;
  }

  /** Goes on after a pause: everything that waits is shown, whatever the pace. */
  resume(): void {
    this.isPaused = false;
    this.#show(this.#waiting);
  }

  /** Forgets everything: other filters, other posts. */
  clear(): void {
    this.shown = [];
    this.passedBy = 0;
    this.#waiting = [];
    this.#overflow = 0;
    this.#seen.clear();
    this.#allowance = CALM_BURST;
  }

  #show(entries: readonly FeedEntry[]): void {
    this.passedBy += this.waitingCount - entries.length;
    this.shown = [...entries].reverse().concat(this.shown).slice(0, SHOWN_MAX);
    this.#waiting = [];
    this.#overflow = 0;
  }

  /** False where the name is known already. */
  #remember(name: string): boolean {
    if (this.#seen.has(name)) {
      return false;
    }
    this.#seen.add(name);
    if (this.#seen.size > SEEN_MAX) {
      const oldest = this.#seen.values().next();
      if (oldest.done === false) {
        this.#seen.delete(oldest.value);
      }
    }
    return true;
  }
}
