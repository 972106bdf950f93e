// `npm run size`: what an app downloads, in brotli bytes, held by limits.
// The built package is bundled as an app would bundle it: minified ESM, each dynamic import a chunk of its own.
import { basename, resolve } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');

const { outputFiles, metafile } = await build({
  stdin: {
    contents: `import { createStorage } from '@codeforge/storage'; createStorage();`,
    resolveDir: root,
  },
  absWorkingDir: root,
  bundle: true,
  minify: true,
  splitting: true,
  format: 'esm',
  target: 'es2022',
  metafile: true,
  write: false,
  outdir: 'site/size',
  logLevel: 'error',
});
const sizes = new Map(
  outputFiles.map(({ path, contents }) => [basename(path), brotliCompressSync(contents).length]),
);
const outputs = new Map(Object.entries(metafile.outputs).map(([path, output]) => [basename(path), output]));

/** The chunks that load together with `names`. */
function closure(names) {
  const found = new Set();
  const visit = (name) => {
    if (found.has(name)) return;
    found.add(name);
    for (const { path, kind } of outputs.get(name).imports) {
      if (kind === 'import-statement') visit(basename(path));
    }
  };
  names.forEach(visit);
  return found;
}
const chunkOf = (source) => {
  for (const [name, { inputs }] of outputs) {
    if (Object.keys(inputs).some((input) => source.test(input))) return name;
  }
  throw new Error(`No chunk holds ${source}.`);
};

const entry = chunkOf(/^<stdin>$/);
const flask = chunkOf(/ky\/distribution\/core\/Ky\.js$/);
const rows = [
  ['IndexedDB only: all that createStorage() loads', [entry], 6000],
  ['with a server configured: that, the Flask backend and ky', [entry, flask], 17_500],
  ['everything: migration and devalue too, loaded when used', [...outputs.keys()], 23_000],
];

let over = 0;
for (const [name, names, limit] of rows) {
  const bytes = [...closure(names)].reduce((sum, chunk) => sum + sizes.get(chunk), 0);
  if (bytes > limit) over += 1;
  process.stdout.write(
    `${bytes > limit ? 'OVER' : 'ok  '} ${String(bytes).padStart(6)} of ${limit} B brotli  ${name}\n`,
  );
}
process.exitCode = over > 0 ? 1 : 0;
