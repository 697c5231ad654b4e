// Measures what the page costs under load: how busy its main thread is, how steady its frames are,
// and how its memory grows. Prints one line of JSON per setting. Asserts nothing: the figures are
// those of the machine it runs on.
//
//   npm run measure [-- --rate 200] [--seconds 30]

import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

import { startMockServer } from '../dev/mock-server.mjs';
import { TestBrowser } from './browser.mjs';

const DIST = fileURLToPath(new URL('../dist', import.meta.url));
/** Until the list and what the page remembers are full. */
const WARM_UP_MS = 30_000;
/** What one collection leaves, such as elements that were just being drawn, the next ones take. */
const COLLECTIONS = 3;

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '30' },
  },
});
const ratePerS = Number(values.rate);
const seconds = Number(values.seconds);

/** @param {import('playwright-core').CDPSession} session */
async function metricsOf(session) {
  for (let count = 0; count < COLLECTIONS; count += 1) {
    await session.send('HeapProfiler.collectGarbage');
  }
  const { metrics } = await session.send('Performance.getMetrics');
  return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
}

/**
 * The time between frames, for a while.
 * @param {import('playwright-core').Page} page
 */
function framesOf(page) {
  return page.evaluate(
    (ms) =>
      new Promise((resolve) => {
        /** @type {number[]} */
        const gaps = [];
        const start = performance.now();
        let last = start;
        const step = () => {
          const now = performance.now();
          gaps.push(now - last);
          last = now;
          if (now - start < ms) {
            requestAnimationFrame(step);
          } else {
            gaps.sort((a, b) => a - b);
            resolve({
              frames: gaps.length,
              p50: gaps[gaps.length >> 1],
              p99: gaps[Math.floor(gaps.length * 0.99)],
            });
          }
        };
        requestAnimationFrame(step);
      }),
    seconds * 1000,
  );
}

const browser = await TestBrowser.launch();
for (const pace of ['Calm', 'All']) {
  const mock = await startMockServer({ ratePerS, historyRatePerS: 50, dist: DIST });
  const { page } = await browser.open(mock.url, { reducedMotion: 'no-preference' });
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  await page.getByRole('button', { name: pace, exact: true }).click();
  await page.waitForTimeout(WARM_UP_MS);
  const before = await metricsOf(session);
  const frames = /** @type {{ frames: number, p50: number, p99: number }} */ (await framesOf(page));
  const after = await metricsOf(session);
  const busy = ((after['TaskDuration'] ?? 0) - (before['TaskDuration'] ?? 0)) / seconds;
  const mebibytes = (/** @type {Record<string, number>} */ metrics) =>
    (metrics['JSHeapUsedSize'] ?? 0) / 2 ** 20;
  process.stdout.write(
    `${JSON.stringify({
      pace,
      posts_per_s: ratePerS,
      main_thread_busy: Number(busy.toFixed(3)),
      frames_per_s: Number((frames.frames / seconds).toFixed(1)),
      frame_ms_p50: Number(frames.p50.toFixed(1)),
      frame_ms_p99: Number(frames.p99.toFixed(1)),
      heap_mib_before: Number(mebibytes(before).toFixed(2)),
      heap_mib_after: Number(mebibytes(after).toFixed(2)),
      listeners: [before['JSEventListeners'], after['JSEventListeners']],
      nodes: [before['Nodes'], after['Nodes']],
    })}\n`,
  );
  await page.context().close();
  await mock.stop();
}
await browser.close();
