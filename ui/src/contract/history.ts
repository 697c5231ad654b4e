// The answer of `/api/history`: moods over time, read from the server's JSON.

import { asArray, asNumber, asObject } from './read';
import { readBucket } from './stats';
import type { Bucket } from './stats';

/** What the contract states, used until the server has answered. */
export const BUCKET_S_DEFAULT = 5;
/** The longest history that the server keeps, in minutes. */
export const HISTORY_MINUTES_MAX = 60;
/** An hour of one-second buckets, and then some. */
const BUCKETS_MAX = 4000;

/** Moods over time. */
export interface History {
  /** A bucket's length in seconds. */
  readonly bucketS: number;
  readonly buckets: readonly Bucket[];
}

/** Reads the history; null where it is none. Unreadable buckets are left out. */
export function readHistory(value: unknown): History | null {
  const object = asObject(value);
  const bucketS = asNumber(object?.['bucket_s']);
  if (object === null || bucketS === null || bucketS < 1 || !Array.isArray(object['buckets'])) {
    return null;
  }
  const buckets: Bucket[] = [];
  for (const item of asArray(object['buckets'], BUCKETS_MAX)) {
    const bucket = readBucket(item);
    if (bucket !== null) {
      buckets.push(bucket);
    }
  }
  return { bucketS, buckets };
}
