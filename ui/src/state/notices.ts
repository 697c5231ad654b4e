// What the reader must know about posts that are missing from the list. One line per kind: more of
// the same kind adds to its line, so that trouble never floods the page.

import { formatCount, formatPlural, formatSpan } from '../text/format';

/** Something that is missing, and why. */
export type Notice =
  /** The server left posts out because this browser was too slow. */
  | { readonly kind: 'dropped'; readonly posts: number }
  /** The server can't send these sequences any more. */
  | { readonly kind: 'gap'; readonly posts: number; readonly reason: string }
  /** This page was away for so long that it did not ask for what was posted meanwhile. */
  | { readonly kind: 'skipped'; readonly awayMs: number }
  /** Events that this page could not read. */
  | { readonly kind: 'unreadable'; readonly events: number };

/** Adds a notice, to the line of its kind where there is one. */
export function withNotice(notices: readonly Notice[], notice: Notice): readonly Notice[] {
  const known = notices.find((other) => other.kind === notice.kind);
  if (known === undefined) {
    return [...notices, notice];
  }
  return notices.map((other) => (other === known ? sum(known, notice) : other));
}

/** The notices but for this kind. */
export function withoutNotice(notices: readonly Notice[], kind: Notice['kind']): readonly Notice[] {
  return notices.filter((notice) => notice.kind !== kind);
}

function sum(known: Notice, added: Notice): Notice {
  if (known.kind === 'dropped' && added.kind === 'dropped') {
    return { ...added, posts: known.posts + added.posts };
  }
  if (known.kind === 'gap' && added.kind === 'gap') {
    return { ...added, posts: known.posts + added.posts };
  }
  if (known.kind === 'skipped' && added.kind === 'skipped') {
    return { ...added, awayMs: known.awayMs + added.awayMs };
  }
  if (known.kind === 'unreadable' && added.kind === 'unreadable') {
    return { ...added, events: known.events + added.events };
  }
  return added;
}

/** A notice in words. */
export function noticeText(notice: Notice): string {
  switch (notice.kind) {
    case 'dropped':
      return `${were(notice.posts, 'post')} skipped because this browser was too slow.`;
    case 'gap':
      return `${formatCount(notice.posts)} sequence numbers of the stream can\u2019t be sent any more (${notice.reason}).`;
    case 'skipped':
      return `The connection was away for ${formatSpan(notice.awayMs)}. Posts of that time are not in this list.`;
    case 'unreadable':
      return `${were(notice.events, 'event')} ignored because this page could not read ${notice.events === 1 ? 'it' : 'them'}.`;
  }
}

function were(count: number, noun: string): string {
  return `${formatPlural(count, noun)} ${count === 1 ? 'was' : 'were'}`;
}
