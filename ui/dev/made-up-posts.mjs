// Made-up enriched posts for development and tests: plausible ones, and the kinds that have broken
// pages before. Every text was written for this file.

/** @typedef {import('../src/contract/labels.ts').Mood} Mood */

/**
 * Openings by mood, then subjects by topic: together they make a sentence.
 * @type {Record<'positive' | 'neutral' | 'negative', string[]>}
 */
const OPENINGS = {
  positive: [
    'So happy with',
    'I can not stop smiling about',
    'What a lovely morning for',
    'Huge thanks to everyone behind',
    'Best decision of the year:',
    'Honestly impressed by',
  ],
  neutral: [
    'Reading up on',
    'Does anyone have notes on',
    'Today on the list:',
    'A short thread about',
    'Back at the desk with',
    'Question for the evening:',
  ],
  negative: [
    'I am so tired of',
    'Disappointed again by',
    'Three hours lost to',
    'Nobody warned me about',
    'Not a great day for',
    'I really wanted to like',
  ],
};

/** @type {[string, string[]][]} */
const SUBJECTS = [
  [
    'arts_&_culture',
    ['the new wing of the museum', 'a charcoal sketch of the harbour', 'the poetry night on Fifth Street'],
  ],
  [
    'business_&_entrepreneurs',
    ['our first invoice', 'a three-person company with five meetings a day', 'the quarterly numbers'],
  ],
  [
    'celebrity_&_pop_culture',
    ['the red carpet looks', 'that interview everybody quotes', 'the reunion rumours'],
  ],
  [
    'diaries_&_daily_life',
    [
      'the first coffee on the balcony',
      'my neighbour and his leaf blower',
      'a rainy walk home with wet socks',
    ],
  ],
  [
    'family',
    [
      'my daughter learning to ride a bike',
      'grandma and her video calls',
      'a table long enough for all cousins',
    ],
  ],
  [
    'fashion_&_style',
    ['a corduroy jacket from the flea market', 'the hem on these trousers', 'linen in November'],
  ],
  [
    'film_tv_&_video',
    [
      'the last ten minutes of that series',
      'a documentary about lighthouse keepers',
      'the director\u2019s cut',
    ],
  ],
  [
    'fitness_&_health',
    ['ten slow kilometres along the river', 'physiotherapy exercises', 'sleeping eight hours in a row'],
  ],
  [
    'food_&_dining',
    ['sourdough that finally rises', 'the noodle place by the station', 'a soup with far too much ginger'],
  ],
  ['gaming', ['the boss on level nine', 'a puzzle game about trains', 'loading screens']],
  ['learning_&_educational', ['an evening course in bookbinding', 'the lecture on tides', 'irregular verbs']],
  [
    'music',
    [
      'the bass line in the second song',
      'tickets for the open-air concert',
      'a string quartet in the subway',
    ],
  ],
  [
    'news_&_social_concern',
    ['the vote on the new bus lines', 'the flood warning for the valley', 'rents in this town'],
  ],
  [
    'other_hobbies',
    ['sorting a box of old stamps', 'a model bridge made of matches', 'birdwatching before breakfast'],
  ],
  [
    'relationships',
    ['a letter from an old friend', 'the silence after an honest talk', 'planning a wedding in the rain'],
  ],
  [
    'science_&_technology',
    [
      'a telescope built from drainpipe',
      'the compiler and its error messages',
      'bees that find their way by starlight',
    ],
  ],
  ['sports', ['the goal in extra time', 'a referee with a sense of humour', 'the relay team']],
  [
    'travel_&_adventure',
    ['the night train to the coast', 'a hut above the tree line', 'lost luggage in a very small airport'],
  ],
  [
    'youth_&_student_life',
    ['the last exam of the term', 'the queue at the canteen', 'a seminar at eight in the morning'],
  ],
];

/** Posts in languages that the model of this mock does not read: they stay unscored. */
const FOREIGN = /** @type {const} */ ([
  ['ja', '朝の散歩で小さな鳥を見ました。'],
  ['ja', '新しい喫茶店はとても静かです。'],
  ['pt', 'O barco chegou cedo e a praia estava vazia.'],
  ['de', 'Der Zug hatte Verspätung, aber der Himmel war schön.'],
  ['ar', 'كان البحر هادئا هذا الصباح.'],
  [null, '✨🕊️✨'],
]);

const ENDINGS = [
  '',
  '',
  '',
  '.',
  '!',
  ' today.',
  ' \u2014 more on that tomorrow.',
  '\n\nThat is all for now.',
];

const HANDLES = ['ada', 'birte', 'chiara', 'devon', 'emre', 'farida', 'goran', 'hanae', 'ines', 'jonas'];

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** A text for each way in which posts have broken pages. The browser tests look for these. */
export const HOSTILE_TEXTS = {
  markup: '<img src=x onerror=alert(1)> <script>alert(2)</script> is text, nothing else',
  bidi: 'Before \u202Ereversed by an override\u202C after \u2066isolated\u2069 end \u202E',
  longWord: `Loooo${'o'.repeat(400)}ng word`,
  stacked: `Z${'\u0300\u0301\u0302\u0303'.repeat(40)}algo marks`,
};

/** Numbers from a seed, so that two runs show the same posts. */
export class Random {
  #state;

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** Between 0 and 1 (mulberry32). */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  /**
   * @template T
   * @param {readonly T[]} items
   * @returns {T}
   */
  pick(items) {
    const item = items[Math.floor(this.next() * items.length)];
    if (item === undefined) {
      throw new Error('nothing to pick from');
    }
    return item;
  }
}

/**
 * How likely each mood is at a time: it drifts slowly, so that the chart has something to show.
 * @param {number} nowMs
 * @returns {Record<Mood, number>}
 */
export function moodChances(nowMs) {
  const minutes = nowMs / 60_000;
  const positive = 0.27 + 0.05 * Math.sin(minutes / 3) + 0.02 * Math.sin(minutes / 0.9);
  const negative = 0.19 + 0.04 * Math.sin(minutes / 4 + 2) + 0.02 * Math.sin(minutes / 1.3);
  const unscored = 0.08;
  return { positive, neutral: 1 - positive - negative - unscored, negative, unscored };
}

/** Makes one post after another. */
export class PostMaker {
  #random;
  #made = 0;

  /** @param {number} seed */
  constructor(seed) {
    this.#random = new Random(seed);
  }

  /**
   * One enriched post, as the server would send it. Every fortieth one is hostile or broken.
   * @param {number} nowMs
   * @returns {Record<string, unknown>}
   */
  next(nowMs) {
    this.#made += 1;
    if (this.#made % 40 === 0) {
      return this.#hostile(nowMs, this.#made / 40);
    }
    const mood = this.#mood(nowMs);
    if (mood === 'unscored') {
      const [language, text] = this.#random.pick(FOREIGN);
      return { ...this.#raw(nowMs, text), ...enrichment(nowMs, { language, sentiment: null, topics: null }) };
    }
    const [topic, subjects] = this.#subject();
    const subject = this.#random.pick(subjects);
    const text = `${this.#random.pick(OPENINGS[mood])} ${subject}${this.#random.pick(ENDINGS)}`;
    return {
      ...this.#raw(nowMs, text),
      ...enrichment(nowMs, {
        language: 'en',
        sentiment: this.#sentiment(mood),
        topics: this.#topics(topic),
      }),
    };
  }

  /** Some topics are written about more than others: the power favours the front of the list. */
  #subject() {
    const order = Math.floor(this.#random.next() ** 1.5 * SUBJECTS.length);
    const subject = SUBJECTS[(order * 5 + 9) % SUBJECTS.length];
    if (subject === undefined) {
      throw new Error('there are no subjects');
    }
    return subject;
  }

  /** @param {number} nowMs */
  #mood(nowMs) {
    let left = this.#random.next();
    for (const [mood, chance] of Object.entries(moodChances(nowMs))) {
      left -= chance;
      if (left <= 0) {
        return /** @type {Mood} */ (mood);
      }
    }
    return 'neutral';
  }

  /** @param {'positive' | 'neutral' | 'negative'} mood */
  #sentiment(mood) {
    const confidence = 0.5 + 0.48 * this.#random.next();
    const rest = 1 - confidence;
    const split = this.#random.next();
    const others = ['positive', 'neutral', 'negative'].filter((other) => other !== mood);
    const probabilities = {
      [mood]: confidence,
      [others[0] ?? '']: rest * split,
      [others[1] ?? '']: rest * (1 - split),
    };
    const label = mood.toUpperCase();
    return { sentiment: mood, confidence, probabilities, label, score: confidence };
  }

  /** @param {string} top */
  #topics(top) {
    const topics = [top];
    if (this.#random.next() < 0.4) {
      const [second] = this.#subject();
      if (second !== top) {
        topics.push(second);
      }
    }
    return { topics, top_topic: top, top_confidence: 0.5 + 0.5 * this.#random.next() };
  }

  /**
   * @param {number} nowMs
   * @param {string} text
   */
  #raw(nowMs, text) {
    const did = `did:plc:${this.#letters(24)}`;
    const writtenMs = nowMs - Math.floor(4000 * this.#random.next());
    const handle = this.#random.next() < 0.5 ? { handle: `${this.#random.pick(HANDLES)}.example.com` } : {};
    return {
      uri: `at://${did}/app.bsky.feed.post/3${this.#letters(12)}`,
      cid: `bafyrei${this.#letters(52)}`,
      author: did,
      ...handle,
      text,
      created_at: new Date(writtenMs).toISOString(),
    };
  }

  /** @param {number} count */
  #letters(count) {
    return Array.from({ length: count }, () => this.#random.pick([...BASE32])).join('');
  }

  /**
   * @param {number} nowMs
   * @param {number} turn
   */
  #hostile(nowMs, turn) {
    const scored = { language: 'en', sentiment: this.#sentiment('neutral'), topics: this.#topics('gaming') };
    const texts = Object.values(HOSTILE_TEXTS);
    const turns = texts.length + 3;
    const text = texts[turn % turns];
    if (text !== undefined) {
      return { ...this.#raw(nowMs, text), ...enrichment(nowMs, scored) };
    }
    const wrongAuthor = { author: 42, handle: '<b>nobody</b>', created_at: 'yesterday', langs: { en: true } };
    switch ((turn % turns) - texts.length) {
      case 0:
        return {
          ...this.#raw(nowMs, 'Fields of the wrong type'),
          ...wrongAuthor,
          ...enrichment(nowMs, scored),
        };
      case 1:
        return {
          ...this.#raw(nowMs, 'An enrichment of the wrong shape'),
          ...enrichment(nowMs, { language: 7, sentiment: 'happy', topics: ['music'] }),
        };
      default:
        return {
          ...this.#raw(nowMs, 'A post with an address that is none'),
          uri: 'javascript:alert(3)',
          ...enrichment(nowMs, scored),
        };
    }
  }
}

/**
 * @param {number} nowMs
 * @param {{ language: unknown, sentiment: unknown, topics: unknown }} fields
 */
function enrichment(nowMs, fields) {
  return {
    ...fields,
    processed_at: nowMs / 1000,
    processed_at_iso: new Date(nowMs).toISOString(),
    processor: 'wingbeat',
  };
}
