// Defensive readers for JSON from outside. Each takes any value and gives the wanted type or null
// (or a stated default); none throws. Numbers and lengths are bounded so that no answer, however
// broken, can make the page hold or draw without limit.

/** A JSON object whose values are still unchecked. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Parses JSON text; `undefined` where it is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The value as an object; null for arrays, null and primitives. */
export function asObject(value: unknown): JsonObject | null {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as JsonObject) : null;
}

/** The value as an array of at most `maxItems`; empty where it is none. */
export function asArray(value: unknown, maxItems: number): readonly unknown[] {
  return Array.isArray(value) ? value.slice(0, maxItems) : [];
}

/** The value as text of at most `maxChars` UTF-16 units, cut with an ellipsis; null where it is no text. */
export function asText(value: unknown, maxChars: number): string | null {
  if (typeof value !== 'string') {
    return null;
  }
  if (value.length <= maxChars) {
    return value.toWellFormed();
  }
  // `toWellFormed` mends a pair of surrogates that the cut has split.
  return (
    value
      .slice(0, maxChars - 1)
      .toWellFormed()
      .replace(/\uFFFD$/, '') + '…'
  );
}

/** The value as a finite number; null where it is none. */
export function asNumber(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** The value as a count: an integer of 0 or more that a number holds exactly; null where it is none. */
export function asCount(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

/** The value as a share between 0 and 1; null where it is none. */
export function asShare(value: unknown): number | null {
  const number = asNumber(value);
  return number !== null && number >= 0 && number <= 1 ? number : null;
}
