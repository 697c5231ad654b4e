// Builds the dashboard to `dist`, serves it for development, and runs the unit tests.
//
// `npm run dev` talks to the server named by WINGBEAT_URL; without it, to a mock server with
// made-up posts that is started here.

import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { ViteUserConfig } from 'vitest/config';
import { defineConfig } from 'vitest/config';

import { startMockServer } from './dev/mock-server.mjs';

export default defineConfig(async ({ command, mode }): Promise<ViteUserConfig> => {
  const isDevServer = command === 'serve' && mode === 'development';
  let api = process.env['WINGBEAT_URL'];
  if (isDevServer && api === undefined) {
    api = (await startMockServer({ port: 0 })).url;
  }
  return {
    plugins: [svelte()],
    // Relative addresses, so that the page also works below a path of a reverse proxy.
    base: './',
    build: {
      // The first browsers with `light-dark()`, on which the colours are built, and `AbortSignal.any`.
      target: ['chrome123', 'firefox124', 'safari17.5'],
      // The server's content security policy allows no `data:` scripts or styles.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
    server: {
      host: '127.0.0.1',
      proxy: api === undefined ? {} : { '/api': { target: api } },
    },
    // Without this condition the tests would get Svelte's server build, in which state is inert.
    ...(mode === 'test' ? { resolve: { conditions: ['browser'] } } : {}),
    test: { include: ['src/**/*.test.ts'], environment: 'node' },
  };
});
