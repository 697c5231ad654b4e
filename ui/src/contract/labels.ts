// The words of the model: the moods and the topics, in the order in which they are always shown.

/** Moods that the model gives. */
export const SENTIMENTS = ['positive', 'neutral', 'negative'] as const;

/** A mood that the model gives. */
export type Sentiment = (typeof SENTIMENTS)[number];

/** What a post counts as: a mood, or `unscored` where the model can't read the language. */
export const MOODS = [...SENTIMENTS, 'unscored'] as const;

/** What a post counts as. */
export type Mood = (typeof MOODS)[number];

/** A count per mood. */
export type MoodCounts = Readonly<Record<Mood, number>>;

/** The topic labels of the embedded model and of its predecessors' model. */
export const TOPICS: readonly string[] = [
  'arts_&_culture',
  'business_&_entrepreneurs',
  'celebrity_&_pop_culture',
  'diaries_&_daily_life',
  'family',
  'fashion_&_style',
  'film_tv_&_video',
  'fitness_&_health',
  'food_&_dining',
  'gaming',
  'learning_&_educational',
  'music',
  'news_&_social_concern',
  'other_hobbies',
  'relationships',
  'science_&_technology',
  'sports',
  'travel_&_adventure',
  'youth_&_student_life',
];

/** A topic label is longer than this only in a broken answer. */
export const TOPIC_CHARS_MAX = 64;

/** Whether the text names a mood. */
export function isMood(value: unknown): value is Mood {
  return (MOODS as readonly unknown[]).includes(value);
}

/** Whether the text names a mood that the model gives. */
export function isSentiment(value: unknown): value is Sentiment {
  return (SENTIMENTS as readonly unknown[]).includes(value);
}

/** How many posts the counts hold together. */
export function totalOf(counts: MoodCounts): number {
  return counts.positive + counts.neutral + counts.negative + counts.unscored;
}

/** How many posts the model has scored. */
export function scoredOf(counts: MoodCounts): number {
  return counts.positive + counts.neutral + counts.negative;
}

/** Four consecutive topics are this many steps of the colour circle apart, so that neighbours differ. */
const HUE_STRIDE = 7;

/**
 * The hue of a topic, 0 to 360 degrees. It depends on the label alone, never on what was seen so
 * far: a known topic has its place on the circle, any other one gets a place from its letters.
 */
export function topicHue(label: string): number {
  const known = TOPICS.indexOf(label);
  if (known >= 0) {
    return Math.round((((known * HUE_STRIDE) % TOPICS.length) * 360) / TOPICS.length);
  }
  let hash = 0;
  for (const character of label) {
    hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 360;
  }
  return hash;
}
