// Starts the page: mounts the app with the browser's own fetch, clock, frames and history.

import { mount } from 'svelte';

import App from './App.svelte';
import { Dashboard } from './state/dashboard.svelte';
import { browserStorage, Preferences } from './state/preferences.svelte';
import './styles/tokens.css';
import './styles/base.css';

const preferences = new Preferences(browserStorage());
const dashboard = new Dashboard(
  {
    fetch: (url, init) => window.fetch(url, init),
    now: () => Date.now(),
    random: () => Math.random(),
    requestFrame: (callback) => void window.requestAnimationFrame(callback),
    // An empty query would leave the old one in place; the path alone drops it.
    pushQuery: (query) =>
      window.history.pushState(null, '', `${window.location.pathname}${query}${window.location.hash}`),
  },
  preferences.pace,
);

const target = document.getElementById('app');
if (target !== null) {
  mount(App, { target, props: { dashboard, preferences } });
}
