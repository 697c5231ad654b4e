// Moods over time: merging the history with the live buckets, bounds, sums, drift.

import { describe, expect, test } from 'vitest';

import type { Bucket } from '../contract/stats';
import { driftOf, sumOf, Timeline } from './timeline';

function bucketAt(t: number, positive: number): Bucket {
  return { t, positive, neutral: 0, negative: 0, unscored: 0 };
}

describe('Timeline', () => {
  test('starts with the history and grows with the stats', () => {
    const timeline = new Timeline();
    timeline.merge({ bucketS: 5, buckets: [bucketAt(100, 1), bucketAt(105, 2)] });
    expect(timeline.grow(bucketAt(105, 3))).toBe(false);
    expect(timeline.grow(bucketAt(110, 1))).toBe(true);
    expect(timeline.grow(bucketAt(110, 4))).toBe(false);
    expect(timeline.buckets.map(({ t, positive }) => [t, positive])).toEqual([
      [100, 1],
      [105, 3],
      [110, 4],
    ]);
  });

  test('takes the final counts of a bucket from the history, but no older ones', () => {
    const timeline = new Timeline();
    timeline.grow(bucketAt(100, 7));
    timeline.grow(bucketAt(105, 6));
    timeline.merge({ bucketS: 5, buckets: [bucketAt(100, 9), bucketAt(105, 2)] });
    expect(timeline.buckets.map(({ positive }) => positive)).toEqual([9, 6]);
  });

  test('does not need the history to come first', () => {
    const timeline = new Timeline();
    timeline.grow(bucketAt(200, 1));
    timeline.merge({ bucketS: 5, buckets: [bucketAt(150, 1), bucketAt(100, 1)] });
    expect(timeline.buckets.map(({ t }) => t)).toEqual([100, 150, 200]);
  });

  test('keeps an hour, for days', () => {
    const timeline = new Timeline();
    for (let t = 0; t < 3 * 3600; t += 5) {
      timeline.grow(bucketAt(t, 1));
    }
    expect(timeline.buckets).toHaveLength(720);
  });
});

test('sumOf adds everything up', () => {
  const bucket: Bucket = { t: 0, positive: 1, neutral: 2, negative: 3, unscored: 4 };
  expect(sumOf([bucket, bucket])).toEqual({ positive: 2, neutral: 4, negative: 6, unscored: 8 });
  expect(sumOf([])).toEqual({ positive: 0, neutral: 0, negative: 0, unscored: 0 });
});

describe('driftOf', () => {
  const now = { positive: 40, neutral: 50, negative: 10, unscored: 5 };

  test('compares shares, not counts', () => {
    const span = { positive: 300, neutral: 500, negative: 200, unscored: 900 };
    expect(driftOf(now, span)).toEqual({ positive: 10, neutral: 0, negative: -10 });
  });

  test('says nothing about too few posts', () => {
    expect(driftOf(now, now)).toBeNull();
    const few = { positive: 4, neutral: 5, negative: 1, unscored: 5 };
    expect(driftOf(few, { positive: 300, neutral: 500, negative: 200, unscored: 0 })).toBeNull();
  });
});
