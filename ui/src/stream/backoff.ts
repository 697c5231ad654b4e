// How long to wait before the next try to reach the server.

/** The wait after the first failure, before jitter. */
export const BACKOFF_FIRST_MS = 1_000;
/** No wait grows beyond this. */
export const BACKOFF_LONGEST_MS = 30_000;
/** A server that asks for more patience than this is asked again all the same. */
export const RETRY_AFTER_LONGEST_MS = 300_000;

/**
 * The wait before try number `failures + 1`, in ms: it doubles with each failure in a row, up to
 * the longest, and is then spread over its upper half, so that the browsers that a restarting
 * server has cut off do not come back all at once.
 *
 * `random` is between 0 and 1. `atLeastMs` is what the server asked for (`retry`, `Retry-After`).
 */
export function backoffMs(failures: number, random: number, atLeastMs: number): number {
  const doublings = Math.min(Math.max(failures - 1, 0), 10);
  const wait = Math.min(BACKOFF_FIRST_MS * 2 ** doublings, BACKOFF_LONGEST_MS);
  const spread = wait / 2 + (wait / 2) * random;
  const asked = Math.min(Math.max(atLeastMs, 0), RETRY_AFTER_LONGEST_MS);
  // The spread is kept on top of what the server asked for.
  return Math.round(asked > spread ? asked + (wait / 2) * random : spread);
}

/** Reads a `Retry-After` header in seconds; 0 where it is missing or a date. */
export function retryAfterMs(header: string | null): number {
  return header !== null && /^\d{1,6}$/.test(header.trim()) ? Number(header) * 1000 : 0;
}
