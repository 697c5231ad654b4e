// What must hold in front of any server that speaks the contract, with whatever posts it has.

import assert from 'node:assert/strict';

import axe from 'axe-core';

import { StreamReader } from './stream-reader.mjs';

/** @typedef {import('./browser.mjs').TestBrowser} TestBrowser */
/** @typedef {import('./browser.mjs').WatchedPage} WatchedPage */
/** @typedef {{ browser: TestBrowser, url: string }} Setting */
/** @typedef {(setting: Setting) => Promise<WatchedPage[]>} Check what it opened, to be looked through for faults */

const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };

/** @type {Record<string, Check>} */
export const CHECKS_ANY_SERVER = {
  'shows live posts and figures': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    await watched.page.getByText(/[\d,]+ posts? in \d+ s/).waitFor();
    assert.match(await watched.page.title(), /Wingbeat/);
    return [watched];
  },

  'is served with a content security policy that allows nothing inline': async ({ url }) => {
    const response = await fetch(url);
    const policy = response.headers.get('Content-Security-Policy') ?? '';
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    return [];
  },

  'draws the chart and moves it': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    const outline = () =>
      watched.page.$$eval('[data-testid="chart"] path[d]', (paths) =>
        paths.map((path) => path.getAttribute('d')).join(),
      );
    await watched.page.waitForSelector('[data-testid="chart"] path[d^="M"]', { state: 'attached' });
    const before = await outline();
    await watched.page.waitForFunction(
      (old) =>
        [...document.querySelectorAll('[data-testid="chart"] path[d]')]
          .map((path) => path.getAttribute('d'))
          .join() !== old,
      before,
    );
    return [watched];
  },

  'reads the chart out by keyboard and by pointer': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    await watched.page.waitForSelector('[data-testid="chart"] path[d^="M"]', { state: 'attached' });
    const slider = watched.page.getByRole('slider', { name: /mood over time/i });
    await slider.focus();
    await slider.press('ArrowLeft');
    assert.match((await slider.getAttribute('aria-valuetext')) ?? '', /^\d\d:\d\d:\d\d: \d+ positive/);
    await watched.page.getByTestId('readout').waitFor();
    await slider.press('Escape');
    assert.equal(await watched.page.getByTestId('readout').count(), 0);
    const box = await slider.boundingBox();
    assert.ok(box);
    await watched.page.mouse.move(box.x + box.width - 5, box.y + box.height / 2);
    await watched.page.getByTestId('readout').waitFor();
    return [watched];
  },

  'filters by mood, in the address too, and the back button undoes it': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    await watched.page.getByRole('button', { name: /^Neutral/ }).click();
    assert.equal(new URL(watched.page.url()).searchParams.get('sentiment'), 'neutral');
    assert.equal(await watched.page.locator('article:not([data-mood="neutral"])').count(), 0);
    await watched.live();
    assert.equal(await watched.page.locator('article:not([data-mood="neutral"])').count(), 0);
    assert.ok(watched.streamRequests.at(-1)?.url().includes('sentiment=neutral'));

    const shared = await browser.open(watched.page.url());
    await shared.live();
    assert.equal(await shared.page.locator('article:not([data-mood="neutral"])').count(), 0);

    await watched.page.goBack();
    assert.equal(new URL(watched.page.url()).search, '');
    await watched.live();
    assert.ok(!watched.streamRequests.at(-1)?.url().includes('sentiment'));
    return [watched, shared];
  },

  'filters by topic, by every topic of a post and not by its strongest alone': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    const row = watched.page.locator('main li button', { has: watched.page.locator('.fill') }).first();
    const name = (await row.locator('bdi').textContent()) ?? '';
    await row.click();
    assert.notEqual(new URL(watched.page.url()).searchParams.get('topic'), null);
    await watched.live();
    const others = await watched.page.$$eval(
      'article',
      (articles, wanted) =>
        articles.filter(
          (article) => ![...article.querySelectorAll('footer bdi')].some((bdi) => bdi.textContent === wanted),
        ).length,
      name,
    );
    assert.equal(others, 0, `posts that are not about ${name}`);
    await watched.page
      .getByRole('group', { name: /filters/i })
      .getByRole('button', { name: 'Clear' })
      .click();
    assert.equal(new URL(watched.page.url()).search, '');
    await watched.live();
    return [watched];
  },

  'pauses and resumes without closing the stream or losing a post': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    await watched.page.getByRole('button', { name: 'All', exact: true }).click();
    const reader = await StreamReader.open(url);
    await reader.reached(Math.max(...(await watched.shownIds())) + 1);
    await watched.page.keyboard.press('p');
    const held = await watched.shownIds();
    const newest = Math.max(...held);
    const streams = watched.streamRequests.length;
    await watched.page.getByTestId('fresh').waitFor();
    assert.deepEqual(await watched.shownIds(), held, 'the list must hold still');
    await watched.page.keyboard.press('p');
    await watched.page.waitForFunction(
      (id) => [...document.querySelectorAll('article')].some((article) => Number(article.dataset['id']) > id),
      newest,
    );
    const after = await watched.shownIds();
    const first = reader.ids[0] ?? 0;
    const from = Math.max(first, Math.min(...after));
    await reader.reached(Math.max(...after));
    const sent = reader.ids.filter((id) => id >= from && id <= Math.max(...after)).reverse();
    assert.deepEqual(
      after.filter((id) => id >= from),
      sent,
    );
    assert.equal(watched.streamRequests.length, streams, 'the stream must stay open');
    reader.close();
    return [watched];
  },

  'pauses while the list is scrolled, and resumes at its top': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    const list = watched.page.getByRole('region', { name: 'List of live posts' });
    await watched.page.waitForFunction(() => document.querySelectorAll('article').length >= 15);
    await list.evaluate((element) => element.scrollTo(0, 200));
    await watched.page.getByTestId('feed-status').getByText('Paused while you scroll').waitFor();
    await list.evaluate((element) => element.scrollTo(0, 0));
    await watched.page.getByRole('button', { name: 'Pause' }).waitFor();
    return [watched];
  },

  'shows why a post was scored so, and holds still meanwhile': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    await watched.page.keyboard.press('p');
    const article = watched.page.locator('article:not([data-mood="unscored"])').first();
    await article.getByRole('button', { name: 'Details' }).click();
    await article
      .getByText(/\d\.\d%/)
      .first()
      .waitFor();
    await watched.page.getByRole('button', { name: 'Resume' }).waitFor();
    return [watched];
  },

  'shows ages that tick, on posts that stand still': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    await watched.page.keyboard.press('p');
    const age = watched.page.locator('article time').first();
    const before = await age.textContent();
    await watched.page.waitForFunction(
      (old) => document.querySelector('article time')?.textContent !== old,
      before,
    );
    return [watched];
  },

  'turns dark and remembers it': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    const luminance = () =>
      watched.page.evaluate(() => {
        const channels = getComputedStyle(document.body).backgroundColor.match(/\d+(\.\d+)?/g) ?? [];
        return channels.slice(0, 3).reduce((sum, channel) => sum + Number(channel), 0) / 3;
      });
    assert.ok((await luminance()) > 200, 'light at first');
    const theme = watched.page.getByRole('button', { name: /^Theme/ });
    await theme.click();
    await theme.click();
    assert.equal(await watched.page.evaluate(() => document.documentElement.dataset['theme']), 'dark');
    assert.ok((await luminance()) < 40, 'dark after the switch');
    await watched.page.reload();
    await watched.live();
    assert.ok((await luminance()) < 40, 'dark after a reload');
    return [watched];
  },

  'has keys, a help dialog that lists them, and a switch that stops them': async ({ browser, url }) => {
    const watched = await browser.open(url);
    await watched.live();
    await watched.page.keyboard.press('?');
    const dialog = watched.page.getByRole('dialog', { name: /how to read/i });
    await dialog.waitFor();
    await dialog.getByLabel(/single keys/i).uncheck();
    await watched.page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await watched.page.keyboard.press('p');
    await watched.page.keyboard.press('?');
    assert.equal(await watched.page.getByRole('button', { name: 'Resume' }).count(), 0);
    assert.equal(await dialog.isVisible(), false);
    return [watched];
  },

  'fits a phone, part by part, without scrolling sideways': async ({ browser, url }) => {
    const watched = await browser.open(url, PHONE);
    await watched.live();
    for (const part of ['Live', 'Trends', 'Books']) {
      await watched.page.getByRole('navigation').getByRole('button', { name: part }).click();
      const width = await watched.page.evaluate(() => ({
        content: document.documentElement.scrollWidth,
        main: document.querySelector('main')?.scrollWidth ?? 0,
        screen: document.documentElement.clientWidth,
      }));
      assert.equal(width.screen, 360, part);
      assert.ok(width.content <= 360 && width.main <= 360, `${part}: ${JSON.stringify(width)}`);
    }
    await watched.page.getByRole('navigation').getByRole('button', { name: 'Live' }).click();
    const list = await watched.page.getByRole('region', { name: 'List of live posts' }).boundingBox();
    assert.ok(list !== null && list.height > 200, 'the posts have room');
    return [watched];
  },

  'has no accessibility faults that axe finds: light, dark, phone': async ({ browser, url }) => {
    /** @type {import('./browser.mjs').Options[]} */
    const looks = [{}, { colorScheme: 'dark' }, PHONE];
    const opened = [];
    for (const look of looks) {
      const watched = await browser.open(url, look);
      await watched.live();
      await watched.page.keyboard.press('p');
      await watched.page.evaluate(axe.source);
      const faults = await watched.page.evaluate(async () => {
        const result = await /** @type {any} */ (window).axe.run(document, {
          runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
        });
        return result.violations.map((/** @type {any} */ violation) => ({
          id: violation.id,
          nodes: violation.nodes
            .slice(0, 3)
            .map((/** @type {any} */ node) => `${node.html} ${node.failureSummary}`),
        }));
      });
      assert.deepEqual(faults, [], JSON.stringify(look));
      opened.push(watched);
    }
    return opened;
  },
};
