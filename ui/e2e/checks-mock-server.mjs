// What must hold when things go wrong. These need a server that fails on demand, so they run
// against the mock server alone.

import assert from 'node:assert/strict';

import { HOSTILE_TEXTS } from '../dev/made-up-posts.mjs';
import { startMockServer } from '../dev/mock-server.mjs';

/** @typedef {import('./browser.mjs').TestBrowser} TestBrowser */
/** @typedef {import('./browser.mjs').WatchedPage} WatchedPage */
/** @typedef {Awaited<ReturnType<typeof startMockServer>>} Mock */
/** @typedef {{ browser: TestBrowser, mock: Mock, dist: string }} Setting */

const DID = 'did:plc:abcdefghijklmnopqrstuvwx';

let made = 0;

/**
 * A post of this run's own.
 * @param {string} text
 * @param {Record<string, unknown>} [more]
 */
function postOf(text, more = {}) {
  made += 1;
  const sentiment = {
    sentiment: 'neutral',
    confidence: 0.9,
    probabilities: { positive: 0.05, neutral: 0.9, negative: 0.05 },
  };
  return {
    uri: `at://${DID}/app.bsky.feed.post/3test${made}`,
    author: DID,
    text,
    created_at: new Date().toISOString(),
    language: 'en',
    sentiment,
    topics: { topics: ['music'], top_topic: 'music', top_confidence: 0.8 },
    processed_at: Date.now() / 1000,
    ...more,
  };
}

/** @type {Record<string, (setting: Setting) => Promise<WatchedPage[]>>} */
export const CHECKS_MOCK_SERVER = {
  'shows hostile text as text, inside its card': async ({ browser, mock }) => {
    const watched = await browser.open(mock.url);
    await watched.live();
    for (const text of Object.values(HOSTILE_TEXTS)) {
      const id = mock.stream.publish(postOf(text, { handle: '<i>x</i>', author: `<b>${text}` }));
      const card = watched.page.locator(`article[data-id="${id}"]`);
      await card.waitFor();
      assert.equal(await card.locator('.text').textContent(), text);
      const isInside = await card.evaluate((element) => element.scrollWidth <= element.clientWidth + 1);
      assert.ok(isInside, `${text.slice(0, 20)} stays inside`);
      assert.equal(
        await card.locator('.text').evaluate((element) => getComputedStyle(element).unicodeBidi),
        'isolate',
      );
      await card.locator('.badge', { hasText: 'Neutral' }).waitFor();
    }
    assert.equal(await watched.page.locator('article img, article script, article b, article i').count(), 0);
    return [watched];
  },

  'shows what is left of a post with broken fields, and counts what is no post': async ({
    browser,
    mock,
  }) => {
    const watched = await browser.open(mock.url);
    await watched.live();
    const id = mock.stream.publish(
      postOf('still readable', {
        author: 42,
        sentiment: 'happy',
        topics: 7,
        language: {},
        created_at: 'x',
        processed_at: null,
      }),
    );
    const card = watched.page.locator(`article[data-id="${id}"]`);
    await card.getByText('still readable').waitFor();
    await card.getByText('Unscored').waitFor();
    mock.stream.broadcast('message', '{"error": "Failed to connect"}');
    mock.stream.broadcast('stats', 'not json');
    await watched.page.locator('[data-notice="unreadable"]').waitFor();
    return [watched];
  },

  'says that posts are simulated, and links only real ones': async ({ browser, mock }) => {
    const watched = await browser.open(mock.url);
    await watched.live();
    await watched.page.getByText('Simulated posts. These are made up').waitFor();
    assert.equal(await watched.page.locator('article a').count(), 0);

    mock.stream.source = {
      kind: 'jetstream',
      spec: 'jetstream',
      simulated: false,
      state: 'running',
      message: null,
    };
    const real = postOf('a real post');
    const id = mock.stream.publish(real);
    const broken = mock.stream.publish(postOf('a post from nowhere', { uri: 'javascript:alert(1)' }));
    const link = watched.page.locator(`article[data-id="${id}"] a`);
    await link.waitFor();
    assert.equal(
      await link.getAttribute('href'),
      `https://bsky.app/profile/${DID}/post/${real.uri.split('/').at(-1)}`,
    );
    assert.equal(await link.getAttribute('target'), '_blank');
    assert.equal(await link.getAttribute('rel'), 'noopener noreferrer');
    await watched.page.locator(`article[data-id="${broken}"]`).waitFor();
    assert.equal(await watched.page.locator(`article[data-id="${broken}"] a`).count(), 0);
    return [watched];
  },

  'says why the source no longer runs': async ({ browser, mock }) => {
    mock.stream.source = {
      kind: 'file',
      spec: 'posts.jsonl',
      simulated: false,
      state: 'failed',
      message: 'line 7 is too long',
    };
    const watched = await browser.open(mock.url);
    await watched.page
      .getByTestId('source')
      .getByText('The source has failed. line 7 is too long.')
      .waitFor();
    return [watched];
  },

  'shows skipped posts and gaps, and removes deleted posts': async ({ browser, mock }) => {
    const watched = await browser.open(mock.url);
    await watched.live();
    mock.stream.broadcast('dropped', { count: 12, total: 12 });
    mock.stream.broadcast('dropped', { count: 3, total: 15 });
    mock.stream.broadcast('gap', { from: 10, to: 90, reason: 'expired' });
    await watched.page.getByText('15 posts were skipped because this browser was too slow').waitFor();
    await watched.page.locator('[data-notice="gap"]').waitFor();
    await watched.page.locator('[data-notice="gap"]').getByRole('button').click();
    assert.equal(await watched.page.locator('[data-notice="gap"]').count(), 0);

    const post = postOf('soon deleted');
    const id = mock.stream.publish(post);
    await watched.page.locator(`article[data-id="${id}"]`).waitFor();
    mock.stream.broadcast('deleted', { uri: post.uri });
    await watched.page.locator(`article[data-id="${id}"]`).waitFor({ state: 'detached' });
    return [watched];
  },

  'shows books that do not balance': async ({ browser, mock }) => {
    mock.stream.lost = 7;
    const watched = await browser.open(mock.url);
    await watched.page.getByText('off by 7').waitFor();
    await watched.page.getByText('balanced').waitFor();
    await watched.page.getByRole('button', { name: 'Filtered' }).click();
    await watched.page.getByText('low confidence').waitFor();
    return [watched];
  },

  'resumes after a lost connection, without a gap and without doubles': async ({ browser, mock }) => {
    const watched = await browser.open(mock.url);
    await watched.live();
    await watched.page.getByRole('button', { name: 'All', exact: true }).click();
    const newest = Math.max(...(await watched.shownIds()));
    mock.stream.disconnectAll();
    await watched.page
      .getByText(/Reconnecting/)
      .first()
      .waitFor();
    for (let count = 0; count < 30; count += 1) {
      mock.stream.publish(postOf(`while away ${count}`));
    }
    const last = mock.stream.publish(postOf('the last one'));
    await watched.page.locator(`article[data-id="${last}"]`).waitFor();
    const request = watched.streamRequests.at(-1);
    assert.match((await request?.allHeaders())?.['last-event-id'] ?? '', /^\d+$/);
    const ids = (await watched.shownIds()).filter((id) => id >= newest && id <= last);
    assert.deepEqual(
      ids,
      Array.from({ length: last - newest + 1 }, (_, index) => last - index),
    );
    await watched.live();
    return [watched];
  },

  'says when the server has too many viewers, and gets in later': async ({ browser, mock }) => {
    mock.answers.clientsMax = 0;
    const watched = await browser.open(mock.url);
    await watched.page.getByTestId('loss').getByText('as many viewers as it allows').waitFor();
    await watched.page.getByText('Waiting for the connection.').waitFor();
    mock.answers.clientsMax = 10;
    await watched.page.getByRole('button', { name: 'Try now' }).click();
    await watched.live();
    assert.equal(await watched.page.getByTestId('loss').count(), 0);
    return [watched];
  },

  'says when the server is gone, and comes back with it': async ({ browser, dist }) => {
    const first = await startMockServer({ ratePerS: 10, dist });
    const watched = await browser.open(first.url);
    await watched.live();
    await first.stop();
    await watched.page
      .getByTestId('loss')
      .getByText(/can\u2019t be reached|ended the connection/)
      .waitFor();
    await watched.page
      .getByText(/next try in \d+ s/i)
      .first()
      .waitFor();
    const second = await startMockServer({ port: Number(new URL(first.url).port), ratePerS: 10, dist });
    await watched.live();
    await second.stop();
    return [watched];
  },

  'says when the server refuses a filter, and offers to clear it': async ({ browser, mock }) => {
    const watched = await browser.open(`${mock.url}/?topic=unheard_of`);
    await watched.page
      .getByTestId('loss')
      .getByText('refuses this filter: unknown topic unheard_of')
      .waitFor();
    await watched.page.getByTestId('loss').getByRole('button', { name: 'Clear filters' }).click();
    await watched.live();
    assert.equal(new URL(watched.page.url()).search, '');
    return [watched];
  },

  'says so when there is nothing yet': async ({ browser, dist }) => {
    const mock = await startMockServer({ ratePerS: 0, dist });
    const watched = await browser.open(mock.url);
    await watched.page.getByText('No posts yet. Waiting for the first one.').waitFor();
    await watched.page.getByText('No topics in the last minute.').waitFor();
    await watched.page.getByText('Nothing was counted in this time.').waitFor();
    await mock.stop();
    return [watched];
  },

  'stays bounded under two hundred posts a second': async ({ browser, dist }) => {
    const mock = await startMockServer({ ratePerS: 200, historyRatePerS: 50, dist });
    const watched = await browser.open(mock.url);
    await watched.live();
    await watched.page.getByRole('button', { name: 'All', exact: true }).click();
    await watched.page.waitForFunction(() => document.querySelectorAll('article').length === 100);
    const newest = Math.max(...(await watched.shownIds()));
    await watched.page.waitForFunction(
      (id) => Number(document.querySelector('article')?.dataset['id']) > id + 400,
      newest,
    );
    assert.equal(await watched.page.locator('article').count(), 100);
    await mock.stop();
    return [watched];
  },
};
