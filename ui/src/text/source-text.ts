// Where the posts come from, in words.

import type { Source } from '../contract/stats';

/** One line about the source: a few strong words, then the rest. */
export interface SourceLine {
  readonly tone: 'plain' | 'simulated' | 'trouble';
  readonly lead: string;
  readonly rest: string;
}

const NAMES: Readonly<Record<string, string>> = {
  firehose: 'the Bluesky firehose',
  jetstream: 'Bluesky\u2019s Jetstream',
  simulator: 'the built-in generator',
  file: 'a file',
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
        : { tone: 'plain', lead: `Watching ${name}`, rest: source.spec === source.kind ? '' : source.spec };
    case 'ended':
      return trouble('The source has ended.', message || 'No new posts will come.', origin);
    case 'stopped':
      return trouble('The source was stopped.', message, origin);
    case 'failed':
      return trouble('The source has failed.', message, origin);
  }
}

function trouble(lead: string, message: string, origin: string): SourceLine {
  const simulated = origin === '' ? '' : `Its posts were simulated. ${origin}`;
  return { tone: 'trouble', lead, rest: [message, simulated].filter((part) => part !== '').join(' ') };
}
