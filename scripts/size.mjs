// `npm run size`: what an app downloads, in brotli bytes, held by limits.
// The built package is bundled as an app would bundle it: by Vite, minified, each dynamic import a chunk of its own. Vite's
// own helper of 0.6 kB, which comes with an app's first dynamic import, is not counted.
import { resolve } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'vite';

const root = resolve(import.meta.dirname, '..');
const APP = 'virtual:app';

const { output } = await build({
  root,
  configFile: false,
  logLevel: 'error',
  build: { write: false, target: 'es2022', modulePreload: false, rollupOptions: { input: APP } },
  plugins: [
    {
      name: 'app',
      enforce: 'pre',
      resolveId: (id) => (id === APP ? resolve(root, 'app.js') : undefined),
      load(id) {
        if (id === resolve(root, 'app.js'))
          return `import { createStorage } from '@codeforge/storage'; globalThis.storage = createStorage();`;
      },
      transform: (_, id) =>
        id.endsWith('vite/preload-helper.js') ? 'export const __vitePreload = (load) => load();' : undefined,
    },
  ],
});
const chunks = new Map(output.map((chunk) => [chunk.fileName, chunk]));

/** The chunks that load together with `names`. */
function closure(names) {
  const found = new Set();
  const visit = (name) => {
    if (found.has(name)) return;
    found.add(name);
    chunks.get(name).imports.forEach(visit);
  };
  names.forEach(visit);
  return found;
}
/** What `names` load that `others` have not loaded already. */
const without = (names, others) => closure(names).difference(closure(others));
const chunkOf = (source) => {
  const chunk = output.find(({ moduleIds }) => moduleIds?.some((id) => source.test(id)));
  if (!chunk) throw new Error(`No chunk holds ${source}.`);
  return chunk.fileName;
};

const entry = chunkOf(/\/app\.js$/);
const flask = chunkOf(/\/ky\/distribution\/core\/Ky\.js$/);
const level0 = chunkOf(/\/dist\/batch-\w+\.js$/);
const level1 = chunkOf(/\/dist\/batch-\w+\.js$/);
const sync = chunkOf(/\/dist\/served-\w+\.js$/);
const rows = [
  ['IndexedDB only: all that createStorage() loads', closure([entry]), 6450],
  [
    'sync: mirror, outbox and replay, loaded with a server',
    without([sync], [entry, flask, level0, level1]),
    13_950,
  ],
  ['with a server of level 0: that, the Flask backend and ky', closure([entry, sync, flask, level0]), 35_700],
  ['with a server of level 1: the same', closure([entry, sync, flask, level1]), 34_550],
  [
    'everything: migration, backups, revisions and devalue too, loaded when used',
    closure([...chunks.keys()]),
    63_100,
  ],
];

let over = 0;
for (const [name, names, limit] of rows) {
  const sizes = [...names].map((chunk) => brotliCompressSync(chunks.get(chunk).code).length);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (bytes > limit) over += 1;
  process.stdout.write(
    `${bytes > limit ? 'OVER' : 'ok  '} ${String(bytes).padStart(6)} of ${limit} B brotli  ${name}\n`,
  );
}
process.exitCode = over > 0 ? 1 : 0;
