// Moods over time, as far back as the server keeps them. Starts from `/api/history` and grows with
// the bucket in each `stats` event.

import { BUCKET_S_DEFAULT, HISTORY_MINUTES_MAX } from '../contract/history';
import type { History } from '../contract/history';
import { scoredOf, totalOf } from '../contract/labels';
import type { MoodCounts } from '../contract/labels';
import type { Bucket } from '../contract/stats';

/** Buckets of the last hour, oldest first. */
export class Timeline {
  /** A bucket's length in seconds. */
  bucketS = BUCKET_S_DEFAULT;
  /** Oldest first, without holes filled. Replaced, never changed in place. */
  buckets: readonly Bucket[] = [];

  /** Takes in the server's history; what is known already stays unless the server knows more. */
  merge(history: History): void {
    this.bucketS = history.bucketS;
    const byStart = new Map<number, Bucket>();
    for (const bucket of [...this.buckets, ...history.buckets]) {
      const known = byStart.get(bucket.t);
      byStart.set(bucket.t, known === undefined ? bucket : laterOf(known, bucket));
    }
    this.buckets = withoutOld([...byStart.values()].sort((a, b) => a.t - b.t));
  }

  /**
   * Takes in the newest bucket; true where it opens a new one. The one before it was then last
   * seen up to a second before its end, so the caller asks the server for its final counts.
   */
  grow(bucket: Bucket): boolean {
    const last = this.buckets.at(-1);
    if (last === undefined || bucket.t > last.t) {
      this.buckets = withoutOld([...this.buckets, bucket]);
      return last !== undefined;
    }
    this.buckets = this.buckets.map((known) => (known.t === bucket.t ? laterOf(known, bucket) : known));
    return false;
  }
}

/** Counts of a bucket only grow, so the fuller of two is the later one. */
function laterOf(known: Bucket, other: Bucket): Bucket {
  return totalOf(other) >= totalOf(known) ? other : known;
}

function withoutOld(buckets: readonly Bucket[]): readonly Bucket[] {
  const newest = buckets.at(-1)?.t ?? 0;
  const oldest = newest - HISTORY_MINUTES_MAX * 60;
  return buckets.filter((bucket) => bucket.t > oldest);
}

/** The sum of all buckets. */
export function sumOf(buckets: readonly Bucket[]): MoodCounts {
  const sum = { positive: 0, neutral: 0, negative: 0, unscored: 0 };
  for (const bucket of buckets) {
    sum.positive += bucket.positive;
    sum.neutral += bucket.neutral;
    sum.negative += bucket.negative;
    sum.unscored += bucket.unscored;
  }
  return sum;
}

/** Fewer scored posts than this say nothing about a mood. */
const SCORED_MIN = 50;

/**
 * By how many percentage points each mood's share now lies above its share in the whole span;
 * null where either has too few posts to say.
 */
export function driftOf(
  now: MoodCounts,
  span: MoodCounts,
): { readonly positive: number; readonly neutral: number; readonly negative: number } | null {
  const scoredNow = scoredOf(now);
  const scoredSpan = scoredOf(span);
  if (scoredNow < SCORED_MIN || scoredSpan < 2 * scoredNow) {
    return null;
  }
  const drift = (mood: 'positive' | 'neutral' | 'negative') =>
    Math.round((now[mood] / scoredNow - span[mood] / scoredSpan) * 100);
  return { positive: drift('positive'), neutral: drift('neutral'), negative: drift('negative') };
}
