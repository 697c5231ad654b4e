// Starts Chromium and opens pages that remember everything that went wrong in them.

import { chromium } from 'playwright-core';

/** Debian's Chromium; CHROMIUM names another one. */
const EXECUTABLE = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** How long anything that must come may take. Generous: the stream may be slow, the machine busy. */
export const PATIENCE_MS = 30_000;

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('playwright-core').BrowserContextOptions} Options */

/** A page and what went wrong in it. */
export class WatchedPage {
  /** Script errors, dialogs, console errors. @type {string[]} */
  faults = [];
  /** Requests for the event stream, in order. @type {import('playwright-core').Request[]} */
  streamRequests = [];

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    page.on('pageerror', (error) => this.faults.push(`script error: ${error.message}`));
    page.on('dialog', (dialog) => {
      this.faults.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('console', (message) => {
      // A request that fails is reported here too; the page says so itself, and checks look at that.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        this.faults.push(`console: ${message.text()}`);
      }
    });
    page.on('request', (request) => {
      if (new URL(request.url()).pathname.endsWith('/api/stream')) {
        this.streamRequests.push(request);
      }
    });
  }

  /** Everything that went wrong, violations of the content security policy included. */
  async allFaults() {
    const violations = await this.page.evaluate(() => /** @type {any} */ (window).__violations ?? []);
    return [...this.faults, ...violations.map((/** @type {string} */ text) => `policy violation: ${text}`)];
  }

  /** Waits until the page is live and shows posts. */
  async live() {
    await this.page.locator('[data-testid="connection"]', { hasText: /^\s*Live\s*$/ }).waitFor();
    await this.page.locator('article').first().waitFor();
  }

  /** The sequences of the posts on the screen, newest first. */
  async shownIds() {
    return this.page.$$eval('article', (articles) =>
      articles.map((article) => Number(article.dataset['id'])),
    );
  }
}

/** A browser for the whole run. */
export class TestBrowser {
  /** @param {import('playwright-core').Browser} browser */
  constructor(browser) {
    this.browser = browser;
  }

  static async launch() {
    return new TestBrowser(
      await chromium.launch({ executablePath: EXECUTABLE, headless: true, args: ARGUMENTS }),
    );
  }

  /**
   * Opens a page of its own, with storage of its own.
   * @param {string} url
   * @param {Options} [options]
   */
  async open(url, options = {}) {
    const context = await this.browser.newContext({
      viewport: { width: 1440, height: 900 },
      reducedMotion: 'reduce',
      colorScheme: 'light',
      ...options,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    await context.addInitScript(() => {
      const violations = /** @type {string[]} */ ([]);
      /** @type {any} */ (window).__violations = violations;
      document.addEventListener('securitypolicyviolation', (event) => {
        violations.push(`${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    const watched = new WatchedPage(await context.newPage());
    await watched.page.goto(url);
    return watched;
  }

  close() {
    return this.browser.close();
  }
}
