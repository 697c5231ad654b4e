// Numbers, times and names as the page shows them. English and a 24-hour clock throughout, like
// the rest of the page.

const COUNT = new Intl.NumberFormat('en');
const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** `12345` as `12,345`. */
export function formatCount(count: number): string {
  return COUNT.format(count);
}

/** `12345` as `12.3K`, for narrow places. */
export function formatCompact(count: number): string {
  return COMPACT.format(count);
}

/** A rate: two digits below ten, whole numbers above. */
export function formatRate(perSecond: number): string {
  return perSecond < 10 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond));
}

/** A share between 0 and 1 as a whole percentage. */
export function formatShare(share: number): string {
  return `${Math.round(share * 100)}%`;
}

/** Percentage points with their sign, such as `+3` or `−2`; a real minus sign, not a hyphen. */
export function formatDrift(points: number): string {
  return points > 0 ? `+${points}` : points < 0 ? `\u2212${-points}` : '\u00B10';
}

/** One noun with its count, such as `1 post` and `2 posts`. */
export function formatPlural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * Whole percentages that add up to 100: each share is rounded down, and what is left goes to those
 * that lost most. All 0 where nothing was counted.
 */
export function wholePercents(counts: readonly number[]): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) {
    return counts.map(() => 0);
  }
  const exact = counts.map((count) => (count / total) * 100);
  const percents = exact.map(Math.floor);
  const left = 100 - percents.reduce((sum, percent) => sum + percent, 0);
  const byLoss = exact
    .map((value, index) => ({ index, loss: value - Math.floor(value) }))
    .sort((a, b) => b.loss - a.loss || a.index - b.index);
  for (const { index } of byLoss.slice(0, left)) {
    percents[index] = (percents[index] ?? 0) + 1;
  }
  return percents;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** An age in a few characters: `now`, `12s`, `5m`, `3h`, `2d`, `4y`. */
export function formatAge(ageMs: number): string {
  const units: readonly [number, string][] = [
    [YEAR, 'y'],
    [DAY, 'd'],
    [HOUR, 'h'],
    [MINUTE, 'm'],
    [SECOND, 's'],
  ];
  for (const [unit, sign] of units) {
    if (ageMs >= (unit === SECOND ? 5 * SECOND : unit)) {
      return `${Math.floor(ageMs / unit)}${sign}`;
    }
  }
  return 'now';
}

/** A span of time in words, such as `45 seconds` or `38 minutes`. */
export function formatSpan(ms: number): string {
  if (ms < 2 * MINUTE) {
    return formatPlural(Math.max(0, Math.round(ms / SECOND)), 'second');
  }
  if (ms < 2 * HOUR) {
    return formatPlural(Math.round(ms / MINUTE), 'minute');
  }
  return formatPlural(Math.round(ms / HOUR), 'hour');
}

const CLOCK_MINUTES = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const CLOCK_SECONDS = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});
const DATE_AND_TIME = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/** The reader's local time as `14:38`. */
export function formatMinutes(ms: number): string {
  return CLOCK_MINUTES.format(ms);
}

/** The reader's local time as `14:38:05`. */
export function formatSeconds(ms: number): string {
  return CLOCK_SECONDS.format(ms);
}

/** The reader's local date and time. */
export function formatDateTime(ms: number): string {
  return DATE_AND_TIME.format(ms);
}

/** A topic label as a name: `arts_&_culture` is `Arts and culture`. */
export function topicName(label: string): string {
  return capitalised(label.replaceAll('_', ' ').replaceAll('&', 'and').trim());
}

/** The first letter in upper case. */
export function capitalised(text: string): string {
  const first = text.codePointAt(0);
  if (first === undefined) {
    return text;
  }
  const letter = String.fromCodePoint(first);
  return letter.toUpperCase() + text.slice(letter.length);
}

const NAME_CHARS_MAX = 32;

/** An author in a line: a long DID keeps its method and both ends of its identifier. */
export function authorName(author: string | null, handle: string | null): string {
  if (handle !== null) {
    return `@${handle}`;
  }
  if (author === null || author === '') {
    return 'Unknown author';
  }
  const did = /^(did:[a-z]+:)(.{5}).*(.{4})$/.exec(author);
  if (did !== null && author.length > 24) {
    return `${did[1]}${did[2]}…${did[3]}`;
  }
  return author.length > NAME_CHARS_MAX ? `${author.slice(0, NAME_CHARS_MAX)}…` : author;
}

const LANGUAGES = new Intl.DisplayNames('en', { type: 'language', fallback: 'none' });

/** A language tag's English name; the tag itself where it has none. */
export function languageName(tag: string): string {
  try {
    return LANGUAGES.of(tag) ?? tag;
  } catch {
    return tag;
  }
}
