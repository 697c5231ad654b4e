// The chart in words, for those who do not see it.

import { scoredOf, SENTIMENTS, totalOf } from '../contract/labels';
import { capitalised, formatPlural, formatSeconds, formatShare } from '../text/format';
import type { Column } from './columns';

/** One column in a sentence. */
export function columnText(column: Column): string {
  const scored = scoredOf(column);
  const parts = SENTIMENTS.map((sentiment) => {
    const share = scored === 0 ? '' : ` (${formatShare(column[sentiment] / scored)})`;
    return `${column[sentiment]} ${sentiment}${share}`;
  });
  return `${formatSeconds(column.startS * 1000)}: ${parts.join(', ')}, ${column.unscored} unscored`;
}

/** All columns in a few sentences: how many posts, and for each mood its share and its range. */
export function chartText(columns: readonly Column[], minutes: number): string {
  const posts = columns.reduce((sum, column) => sum + totalOf(column), 0);
  const scored = columns.reduce((sum, column) => sum + scoredOf(column), 0);
  const intro = `Last ${formatPlural(minutes, 'minute')}: ${formatPlural(posts, 'post')}`;
  if (scored === 0) {
    return `${intro}.`;
  }
  const parts = SENTIMENTS.map((sentiment) => {
    const count = columns.reduce((sum, column) => sum + column[sentiment], 0);
    const shares = columns
      .filter((column) => scoredOf(column) > 0)
      .map((column) => column[sentiment] / scoredOf(column));
    const low = formatShare(Math.min(...shares));
    const high = formatShare(Math.max(...shares));
    return `${capitalised(sentiment)} ${formatShare(count / scored)} (between ${low} and ${high})`;
  });
  return `${intro}. ${parts.join('. ')}.`;
}
