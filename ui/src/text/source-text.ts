// Where the posts come from, in words.

import type { Source } from '../contract/stats';

/** One line about the source: a few strong words, then the rest. */
export interface SourceLine {
  readonly tone: 'plain' | 'simulated' | 'trouble';
  readonly lead: string;
  readonly rest: string;
}

const NAMES: Readonly<Record<string, string>> = {
  auto: 'Bluesky',
  relay: 'the Bluesky firehose',
  jetstream: 'Bluesky\u2019s Jetstream',
  jetstream1: 'Bluesky\u2019s Jetstream',
  simulator: 'the built-in generator',
  file: 'a file',
  log: 'the log',
};

const SIMULATED = 'These are made up by the built-in generator, not from Bluesky.';

/** The line for a source; null is for the time before the server has told. */
export function sourceLine(source: Source | null): SourceLine {
  if (source === null) {
    return { tone: 'plain', lead: 'Waiting for the first figures', rest: '' };
  }
  const name = NAMES[source.kind] ?? source.kind;
  const origin = source.simulated ? SIMULATED : '';
  const message = source.message === null ? '' : `${source.message.replace(/[.\s]+$/, '')}.`;
  switch (source.state) {
    case 'running':
      return source.simulated
        ? { tone: 'simulated', lead: 'Simulated posts.', rest: origin }
        : { tone: 'plain', lead: `Watching ${name}`, rest: place(source) };
    case 'connecting':
      return { tone: 'plain', lead: `Connecting to ${source.host ?? name}`, rest: gaps(source) };
    case 'broken':
      return trouble(`Lost ${source.host ?? name}, trying again.`, message, gaps(source));
    case 'ended':
      return trouble('The source has ended.', message || 'No new posts will come.', origin);
    case 'stopped':
      return trouble('The source was stopped.', message, origin);
    case 'failed':
      return trouble('The source has failed.', message, origin);
  }
}

/** Where exactly, and how much may be missing. */
function place(source: Source): string {
  const spec = source.spec === source.kind ? '' : source.spec;
  return [source.host ?? spec, gaps(source)].filter((part) => part !== '').join(' \u00b7 ');
}

function gaps(source: Source): string {
  if (source.gaps === 0) {
    return '';
  }
  return source.gaps === 1 ? '1 gap reported' : `${source.gaps} gaps reported`;
}

function trouble(lead: string, message: string, origin: string): SourceLine {
  const simulated = origin === SIMULATED ? `Its posts were simulated. ${origin}` : origin;
  return { tone: 'trouble', lead, rest: [message, simulated].filter((part) => part !== '').join(' ') };
}
