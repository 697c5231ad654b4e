// From the history's buckets to the chart's columns: as many as can be told apart, without holes,
// the last one as wide as it is old.

import { scoredOf, totalOf } from '../contract/labels';
import type { Mood, MoodCounts } from '../contract/labels';
import type { Bucket } from '../contract/stats';

/** More columns than this can't be told apart on a screen. */
const COLUMNS_MAX = 180;
/** A column younger than this has too few posts to give a rate. */
const COLUMN_S_MIN = 2;

/** One column. Times are in seconds since 1970. */
export interface Column extends MoodCounts {
  /** For the oldest column the first bucket in the range, for all others a full step. */
  readonly startS: number;
  /** For the newest column the present, for all others the start of the next. */
  readonly endS: number;
}

/** What the chart's height stands for. */
export type ChartMode =
  /** Each mood's share of the scored posts, 0 to 1. */
  | 'share'
  /** Posts per second of each mood, the unscored too. */
  | 'rate';

/** The moods of a mode, from the bottom up. */
export const STACK: Readonly<Record<ChartMode, readonly Mood[]>> = {
  // Positive from the floor up and negative from the ceiling down: both have a straight edge.
  share: ['positive', 'neutral', 'negative'],
  rate: ['positive', 'neutral', 'negative', 'unscored'],
};

/** A column's length in seconds for a range: a multiple of the bucket's. */
export function columnSeconds(rangeS: number, bucketS: number): number {
  return bucketS * Math.max(1, Math.ceil(rangeS / bucketS / COLUMNS_MAX));
}

/**
 * The columns from the first bucket in the range until now, oldest first. Where the server left a
 * bucket out it was empty, and so is the column.
 */
export function columnsOf(
  buckets: readonly Bucket[],
  range: { readonly nowS: number; readonly rangeS: number; readonly bucketS: number },
): Column[] {
  const { nowS, rangeS, bucketS } = range;
  const stepS = columnSeconds(rangeS, bucketS);
  const visible = buckets.filter((bucket) => bucket.t + bucketS > nowS - rangeS && bucket.t < nowS);
  const first = visible[0];
  if (first === undefined) {
    return [];
  }
  const counts = new Map<number, Record<Mood, number>>();
  for (const bucket of visible) {
    const startS = Math.floor(bucket.t / stepS) * stepS;
    const sum = counts.get(startS) ?? { positive: 0, neutral: 0, negative: 0, unscored: 0 };
    sum.positive += bucket.positive;
    sum.neutral += bucket.neutral;
    sum.negative += bucket.negative;
    sum.unscored += bucket.unscored;
    counts.set(startS, sum);
  }
  const columns: Column[] = [];
  const firstStepS = Math.floor(first.t / stepS) * stepS;
  for (let stepStartS = firstStepS; stepStartS < nowS; stepStartS += stepS) {
    const sum = counts.get(stepStartS) ?? { positive: 0, neutral: 0, negative: 0, unscored: 0 };
    // Of the oldest column only a part may be in the range; its rate counts that part alone.
    const startS = Math.max(stepStartS, first.t);
    const endS = Math.min(stepStartS + stepS, nowS);
    if (endS - startS >= COLUMN_S_MIN) {
      columns.push({ startS, endS, ...sum });
    }
  }
  return columns;
}

/** The height of one mood in a column: a share of 0 to 1, or posts per second. */
export function heightOf(column: Column, mood: Mood, mode: ChartMode): number {
  if (mode === 'rate') {
    return column[mood] / (column.endS - column.startS);
  }
  const scored = scoredOf(column);
  return scored === 0 ? 0 : column[mood] / scored;
}

/** The height of the highest column. */
export function highestOf(columns: readonly Column[], mode: ChartMode): number {
  if (mode === 'share') {
    return 1;
  }
  const rates = columns.map((column) => totalOf(column) / (column.endS - column.startS));
  return Math.max(0, ...rates);
}

/** The column at a time; the nearest where there is none at that very time. */
export function columnAt(columns: readonly Column[], timeS: number): number {
  const index = columns.findIndex((column) => timeS < column.endS);
  return index < 0 ? columns.length - 1 : index;
}
