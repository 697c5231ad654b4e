// Browser tests of the built page.
//
//   npm run e2e -- http://127.0.0.1:3000 [--screenshot FILE] [--only TEXT] [--expect-post TEXT]
//   npm run e2e:mock -- [--screenshot FILE] [--only TEXT]
//
// The first form checks a server that speaks docs/reference/http-api.md and serves the page. The
// second starts mock servers itself and checks faults too. `--only` picks checks by a part of
// their name; `--expect-post` checks instead that one post with just this text is shown as text.

import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

import { startMockServer } from '../dev/mock-server.mjs';
import { TestBrowser } from './browser.mjs';
import { CHECKS_ANY_SERVER } from './checks-any-server.mjs';
import { CHECKS_MOCK_SERVER } from './checks-mock-server.mjs';

const DIST = fileURLToPath(new URL('../dist', import.meta.url));

/** Posts a second of the mock server in most checks. */
const MOCK_RATE = 15;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mock: { type: 'boolean', default: false },
    screenshot: { type: 'string' },
    only: { type: 'string', default: '' },
    'expect-post': { type: 'string' },
  },
});

/**
 * Runs one check and looks through the pages that it opened.
 * @param {string} name
 * @param {() => Promise<import('./browser.mjs').WatchedPage[]>} check
 */
async function run(name, check) {
  try {
    for (const watched of await check()) {
      const faults = await watched.allFaults();
      await watched.page.context().close();
      if (faults.length > 0) {
        throw new Error(`the page had faults:\n  ${faults.join('\n  ')}`);
      }
    }
    process.stderr.write(`ok    ${name}\n`);
    return true;
  } catch (error) {
    process.stderr.write(`FAIL  ${name}\n${error instanceof Error ? error.stack : error}\n`);
    return false;
  }
}

/**
 * A screenshot of the live page, 1440 by 900 pixels.
 * @param {TestBrowser} browser
 * @param {string} url
 * @param {string} file
 */
async function takeScreenshot(browser, url, file) {
  const watched = await browser.open(url);
  await watched.live();
  await watched.page.waitForFunction(() => document.querySelectorAll('article').length >= 8);
  await watched.page.waitForSelector('[data-testid="chart"] path[d^="M"]', { state: 'attached' });
  await watched.page.locator('table').waitFor();
  await watched.page.screenshot({ path: file });
  process.stderr.write(`screenshot: ${file}\n`);
}

/**
 * Checks that a post with this text is shown, as text.
 * @param {TestBrowser} browser
 * @param {string} url
 * @param {string} text
 */
async function expectPost(browser, url, text) {
  const watched = await browser.open(url);
  await watched.live();
  await watched.page.getByText(text, { exact: true }).first().waitFor();
  const elements = await watched.page.locator('article :is(img, script, iframe)').count();
  if (elements > 0) {
    throw new Error('markup of a post became part of the page');
  }
  return [watched];
}

async function main() {
  const [address] = positionals;
  if (values.mock === (address !== undefined)) {
    process.stderr.write('give the address of a server, or --mock\n');
    return 2;
  }
  if (values.mock && !existsSync(DIST)) {
    process.stderr.write('there is no dist yet: run `npm run build` first\n');
    return 2;
  }
  const isWanted = (/** @type {[string, unknown]} */ [name]) => name.includes(values.only);
  const browser = await TestBrowser.launch();
  const results = [];
  const expected = values['expect-post'];
  if (expected !== undefined) {
    const isShown = await run(`shows ${expected}`, () => expectPost(browser, address ?? '', expected));
    await browser.close();
    return isShown ? 0 : 1;
  }
  for (const [name, check] of Object.entries(CHECKS_ANY_SERVER).filter(isWanted)) {
    const mock = address === undefined ? await startMockServer({ ratePerS: MOCK_RATE, dist: DIST }) : null;
    const url = address ?? mock?.url ?? '';
    results.push(await run(name, () => check({ browser, url })));
    await mock?.stop();
  }
  for (const [name, check] of Object.entries(values.mock ? CHECKS_MOCK_SERVER : {}).filter(isWanted)) {
    // A server for each: they change it. Slow enough that the calm pace shows every post.
    const mock = await startMockServer({ ratePerS: 1, historyRatePerS: 10, dist: DIST });
    results.push(await run(name, () => check({ browser, mock, dist: DIST })));
    await mock.stop();
  }
  if (values.screenshot !== undefined) {
    const mock = address === undefined ? await startMockServer({ ratePerS: MOCK_RATE, dist: DIST }) : null;
    await takeScreenshot(browser, address ?? mock?.url ?? '', values.screenshot);
    await mock?.stop();
  }
  await browser.close();
  const failed = results.filter((isGood) => !isGood).length;
  process.stderr.write(`${results.length - failed} of ${results.length} checks passed\n`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
