/** What the tarball contains. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { expect, inject, it } from 'vitest';

const { alone, files } = inject('packages');
const folder = join(alone, 'node_modules/@codeforge/storage');
const read = (path: string): string => readFileSync(join(folder, path), 'utf8');
const manifest = JSON.parse(read('package.json'));

/** Names of the packages in a list of licences. */
const licensed = (path: string): string[] =>
  [...read(path).matchAll(/^([@\w/-]+) \d+\.\d+\.\d+$/gm)].map(([, name]) => String(name));

/** What a file imports or requires, `import()` included. */
async function importsOf(path: string) {
  const { metafile } = await build({
    entryPoints: [join(folder, path)],
    absWorkingDir: folder,
    bundle: true,
    packages: 'external',
    platform: 'neutral',
    format: 'esm',
    write: false,
    metafile: true,
  });
  return metafile.inputs[path]?.imports ?? [];
}

it('holds the builds, README, LICENSE, CHANGELOG and nothing else', () => {
  const allowed =
    /^(dist\/(.+\.(js|cjs|d\.ts|d\.cts|map)|(cli-|server-)?licenses\.txt)|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/;
  expect(files.filter((path) => !allowed.test(path))).toEqual([]);
});

it('names no folder of the machine that built it', () => {
  for (const path of files.filter((path) => path.endsWith('.map')))
    for (const source of JSON.parse(read(path)).sources as string[])
      expect(join(dirname(path), source)).toMatch(/^(src|node_modules)\//);
  const root = join(import.meta.dirname, '../..');
  for (const path of files) expect(read(path).includes(root), path).toBe(false);
});

it('the CommonJS build requires only what is CommonJS too, and contains no import()', async () => {
  const imports = await importsOf('dist/index.cjs');
  expect([...new Set(imports.map(({ kind, path }) => `${kind} ${path}`))]).toEqual([
    'require-call idb-keyval',
  ]);
});

it('the CommonJS builds of the other entries require nothing but the main one, and React', async () => {
  const required = async (entry: string) => {
    const imports = await importsOf(`dist/${entry}/index.cjs`);
    return [...new Set(imports.map(({ kind, path }) => `${kind} ${path}`))];
  };
  expect(await required('adapters')).toEqual(['require-call dist/index.cjs']);
  expect(await required('observe')).toEqual([]);
  expect(await required('react')).toEqual(['require-call react']);
});

it('the builds for pages are one file each, with everything inside', async () => {
  for (const path of ['dist/codeforge-storage.js', 'dist/codeforge-storage.global.js']) {
    expect(await importsOf(path)).toEqual([]);
    expect(read(path).split('\n', 1)[0]).toContain(`${manifest.name} ${manifest.version}`);
  }
  expect(manifest.unpkg).toBe('./dist/codeforge-storage.global.js');
  expect(manifest.jsdelivr).toBe(manifest.unpkg);
});

it('an app with the entry ./full is one file that loads nothing later', async () => {
  const { outputFiles } = await build({
    stdin: { contents: `export * from '@codeforge/storage/full';`, resolveDir: alone },
    outdir: alone,
    bundle: true,
    splitting: true,
    format: 'esm',
    write: false,
  });
  expect(outputFiles.map(({ text }) => /\bimport\(["'`].*/.exec(text)?.[0])).toEqual([undefined]);
});

it('the licences of the packages inside come along', () => {
  expect(licensed('dist/licenses.txt')).toEqual(Object.keys(manifest.dependencies).sort());
  expect(licensed('dist/cli-licenses.txt')).toEqual(expect.arrayContaining(['commander', 'croner']));
  expect(licensed('dist/server-licenses.txt')).toEqual(expect.arrayContaining(['pino']));
});

it('declares the Node.js that its dependencies ask for', () => {
  const needed = Object.keys(manifest.dependencies)
    .map(
      (name) =>
        JSON.parse(readFileSync(join(alone, 'node_modules', name, 'package.json'), 'utf8')).engines?.node,
    )
    .map((range) => Number(/^>= ?(\d+)/.exec(range ?? '')?.[1] ?? 0));
  expect(manifest.engines.node).toBe(`>=${Math.max(...needed)}`);
});
