// From columns to lines on the screen: scales, ticks, and the outline of each mood's area.

import type { Mood } from '../contract/labels';
import { heightOf, STACK } from './columns';
import type { ChartMode, Column } from './columns';

/** Where the chart draws, in CSS pixels, and what its edges stand for. */
export interface Plot {
  readonly width: number;
  readonly height: number;
  readonly fromS: number;
  readonly toS: number;
  /** The value at the upper edge; the lower edge is 0. */
  readonly top: number;
}

/** The place of a time, in CSS pixels from the left; never outside the plot. */
export function xOf(plot: Plot, timeS: number): number {
  const share = (timeS - plot.fromS) / (plot.toS - plot.fromS);
  return Math.min(Math.max(share, 0), 1) * plot.width;
}

/** The time at a place. */
export function timeAt(plot: Plot, x: number): number {
  return plot.fromS + (x / plot.width) * (plot.toS - plot.fromS);
}

/** The place of a value, in CSS pixels from the top. */
export function yOf(plot: Plot, value: number): number {
  return plot.top === 0 ? plot.height : plot.height - (value / plot.top) * plot.height;
}

/** One mood's area. */
export interface Area {
  readonly mood: Mood;
  /** An SVG path; empty where there is nothing to draw. */
  readonly path: string;
}

/**
 * The areas of all moods of a mode, stacked. Each column is a step, not a point of a curve: a
 * curve would show values between the columns that nobody counted.
 */
export function areasOf(columns: readonly Column[], mode: ChartMode, plot: Plot): Area[] {
  const floor: number[] = columns.map(() => 0);
  return STACK[mode].map((mood) => {
    const ceiling = columns.map((column, index) => (floor[index] ?? 0) + heightOf(column, mood, mode));
    const path = outline(columns, floor, ceiling, plot);
    ceiling.forEach((value, index) => {
      floor[index] = value;
    });
    return { mood, path };
  });
}

/** Along the ceiling from left to right, and back along the floor. */
function outline(
  columns: readonly Column[],
  floor: readonly number[],
  ceiling: readonly number[],
  plot: Plot,
): string {
  const there: string[] = [];
  const back: string[] = [];
  columns.forEach((column, index) => {
    const left = pixels(xOf(plot, column.startS));
    const right = pixels(xOf(plot, column.endS));
    const upper = pixels(yOf(plot, ceiling[index] ?? 0));
    const lower = pixels(yOf(plot, floor[index] ?? 0));
    there.push(`${left},${upper}`, `${right},${upper}`);
    back.push(`${left},${lower}`, `${right},${lower}`);
  });
  return there.length === 0 ? '' : `M${there.join('L')}L${back.reverse().join('L')}Z`;
}

/** A tenth of a pixel is as fine as anybody sees. */
function pixels(value: number): string {
  return String(Math.round(value * 10) / 10);
}

const NICE_STEPS = [1, 2, 2.5, 5, 10];

/** Round values from 0 to just above `highest`, at most `stepsMax` steps. */
export function valueTicks(highest: number, stepsMax: number): number[] {
  if (highest <= 0 || !Number.isFinite(highest)) {
    return [0, 1];
  }
  const rough = highest / stepsMax;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const factor = NICE_STEPS.find((nice) => nice * magnitude >= rough * (1 - 1e-9)) ?? 10;
  const step = factor * magnitude;
  const ticks: number[] = [];
  for (let index = 0; index * step < highest + step * (1 - 1e-9); index += 1) {
    ticks.push(Number((index * step).toPrecision(6)));
  }
  return ticks;
}

const TIME_STEPS_S = [60, 120, 300, 600, 900, 1800, 3600];

/** Full minutes between two times, at most `ticksMax` of them, in seconds since 1970. */
export function timeTicks(fromS: number, toS: number, ticksMax: number): number[] {
  const step = TIME_STEPS_S.find((seconds) => (toS - fromS) / seconds <= ticksMax) ?? 3600;
  const ticks: number[] = [];
  for (let tick = Math.ceil(fromS / step) * step; tick <= toS; tick += step) {
    ticks.push(tick);
  }
  return ticks;
}
