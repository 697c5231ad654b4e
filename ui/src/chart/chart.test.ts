// The chart's arithmetic: columns, stacks, scales, ticks, and what is said about them.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import type { Bucket } from '../contract/stats';
import { columnAt, columnSeconds, columnsOf, heightOf, highestOf } from './columns';
import { areasOf, timeAt, timeTicks, valueTicks, xOf, yOf } from './geometry';
import type { Plot } from './geometry';
import { chartText, columnText } from './summary';

function bucketAt(t: number, positive: number, neutral = 0, negative = 0, unscored = 0): Bucket {
  return { t, positive, neutral, negative, unscored };
}

const PLOT: Plot = { width: 600, height: 100, fromS: 1000, toS: 1300, top: 1 };

describe('columns', () => {
  test('are as many as can be told apart', () => {
    expect([300, 900, 3600].map((rangeS) => columnSeconds(rangeS, 5))).toEqual([5, 5, 20]);
  });

  test('have no holes: a bucket that was left out is an empty column', () => {
    const columns = columnsOf([bucketAt(1000, 1), bucketAt(1010, 2)], {
      nowS: 1020,
      rangeS: 300,
      bucketS: 5,
    });
    expect(columns.map(({ startS, positive }) => [startS, positive])).toEqual([
      [1000, 1],
      [1005, 0],
      [1010, 2],
      [1015, 0],
    ]);
  });

  test('add buckets up where the range is long', () => {
    const buckets = [0, 5, 10, 15, 20].map((t) => bucketAt(4000 + t, 1));
    const columns = columnsOf(buckets, { nowS: 4030, rangeS: 3600, bucketS: 5 });
    expect(columns.map(({ startS, endS, positive }) => [startS, endS, positive])).toEqual([
      [4000, 4020, 4],
      [4020, 4030, 1],
    ]);
  });

  test('the newest is as wide as it is old, so that its rate is true from the start', () => {
    const buckets = [bucketAt(1000, 50), bucketAt(1005, 20)];
    const columns = columnsOf(buckets, { nowS: 1007, rangeS: 300, bucketS: 5 });
    expect(columns.at(-1)).toMatchObject({ startS: 1005, endS: 1007 });
    expect(columns.map((column) => heightOf(column, 'positive', 'rate'))).toEqual([10, 10]);
  });

  test('the oldest starts where the range does, so that its rate does not dip', () => {
    const buckets = Array.from({ length: 720 }, (_, index) => bucketAt(10 + index * 5, 50));
    const columns = columnsOf(buckets, { nowS: 3613, rangeS: 3600, bucketS: 5 });
    expect(columns[0]).toMatchObject({ startS: 10, endS: 20 });
    expect(new Set(columns.slice(0, -1).map((column) => heightOf(column, 'positive', 'rate')))).toEqual(
      new Set([10]),
    );
  });

  test('a share counts the scored posts only, and is 0 where there are none', () => {
    const [full, empty] = columnsOf([bucketAt(1000, 1, 2, 1, 96), bucketAt(1005, 0, 0, 0, 7)], {
      nowS: 1010,
      rangeS: 300,
      bucketS: 5,
    });
    expect(full && heightOf(full, 'positive', 'share')).toBe(0.25);
    expect(empty && heightOf(empty, 'positive', 'share')).toBe(0);
  });

  test('what lies before the range is not drawn', () => {
    const columns = columnsOf([bucketAt(100, 1), bucketAt(995, 1)], { nowS: 1000, rangeS: 300, bucketS: 5 });
    expect(columns.map(({ startS }) => startS)).toEqual([995]);
    expect(columnsOf([], { nowS: 1000, rangeS: 300, bucketS: 5 })).toEqual([]);
  });

  test('are bounded whatever the buckets', () => {
    const times = fc.array(fc.nat({ max: 8000 }), { maxLength: 300 });
    const range = fc.constantFrom(300, 900, 3600);
    fc.assert(
      fc.property(times, range, fc.constantFrom(1, 5, 7, 60), (starts, rangeS, bucketS) => {
        const buckets = starts.map((t) => bucketAt(t, 1));
        const columns = columnsOf(buckets, { nowS: 8000, rangeS, bucketS });
        expect(columns.length).toBeLessThanOrEqual(183);
        expect(columns.every(({ startS, endS }) => endS > startS)).toBe(true);
      }),
    );
  });

  test('are found by time', () => {
    const columns = columnsOf([bucketAt(1000, 1), bucketAt(1005, 1)], {
      nowS: 1008,
      rangeS: 300,
      bucketS: 5,
    });
    expect([900, 1000, 1004.9, 1005, 9999].map((timeS) => columnAt(columns, timeS))).toEqual([0, 0, 0, 1, 1]);
  });
});

describe('geometry', () => {
  test('places and times are each other\u2019s inverse, and nothing leaves the plot', () => {
    expect(xOf(PLOT, 1150)).toBe(300);
    expect(timeAt(PLOT, 300)).toBe(1150);
    expect([xOf(PLOT, 0), xOf(PLOT, 9999)]).toEqual([0, 600]);
    expect([yOf(PLOT, 0), yOf(PLOT, 0.25), yOf(PLOT, 1)]).toEqual([100, 75, 0]);
    expect(yOf({ ...PLOT, top: 0 }, 5)).toBe(100);
  });

  test('areas stack without gap or overlap, as steps', () => {
    const columns = columnsOf([bucketAt(1290, 1, 2, 1), bucketAt(1295, 2, 2, 0)], {
      nowS: 1300,
      rangeS: 300,
      bucketS: 5,
    });
    expect(areasOf(columns, 'share', PLOT)).toEqual([
      { mood: 'positive', path: 'M580,75L590,75L590,50L600,50L600,100L590,100L590,100L580,100Z' },
      { mood: 'neutral', path: 'M580,25L590,25L590,0L600,0L600,50L590,50L590,75L580,75Z' },
      { mood: 'negative', path: 'M580,0L590,0L590,0L600,0L600,0L590,0L590,25L580,25Z' },
    ]);
    expect(areasOf([], 'rate', PLOT).map(({ path }) => path)).toEqual(['', '', '', '']);
  });

  test('value ticks are round, start at 0 and reach the highest', () => {
    expect(valueTicks(1, 4)).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect(valueTicks(57, 4)).toEqual([0, 20, 40, 60]);
    expect(valueTicks(0, 4)).toEqual([0, 1]);
    const highest = fc.double({ min: 1e-3, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(highest, (value) => {
        const ticks = valueTicks(value, 4);
        expect(ticks.length).toBeLessThanOrEqual(6);
        expect(ticks.at(-1)).toBeGreaterThanOrEqual(value * (1 - 1e-5));
      }),
    );
  });

  test('time ticks are full minutes, not too many', () => {
    expect(timeTicks(1000, 1300, 6)).toEqual([1020, 1080, 1140, 1200, 1260]);
    expect(timeTicks(1000, 1900, 6)).toEqual([1200, 1500, 1800]);
    expect(timeTicks(0, 3600, 4)).toEqual([0, 900, 1800, 2700, 3600]);
  });

  test('the highest rate counts all moods', () => {
    const columns = columnsOf([bucketAt(1000, 5, 5, 5, 10)], { nowS: 1005, rangeS: 300, bucketS: 5 });
    expect(highestOf(columns, 'rate')).toBe(5);
    expect(highestOf(columns, 'share')).toBe(1);
    expect(highestOf([], 'rate')).toBe(0);
  });
});

describe('in words', () => {
  const columns = columnsOf([bucketAt(1000, 1, 2, 1, 6), bucketAt(1005, 2, 2, 0)], {
    nowS: 1010,
    rangeS: 300,
    bucketS: 5,
  });

  test('the chart is summed up', () => {
    expect(chartText(columns, 5)).toBe(
      'Last 5 minutes: 14 posts. Positive 38% (between 25% and 50%). ' +
        'Neutral 50% (between 50% and 50%). Negative 13% (between 0% and 25%).',
    );
    expect(chartText([], 15)).toBe('Last 15 minutes: 0 posts.');
  });

  test('a column is read out', () => {
    const [column] = columns;
    expect(column && columnText(column)).toMatch(
      /^\d\d:\d\d:40: 1 positive \(25%\), 2 neutral \(50%\), 1 negative \(25%\), 6 unscored$/,
    );
  });
});
