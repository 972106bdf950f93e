/**
 * What the package contains, each built by itself:
 * - `index.js`, `full.js`: ES modules for bundlers and Node.js; dependencies are imported.
 * - `index.cjs`: CommonJS for `require` and Jest, both entries of the storage in one file. It contains its ESM-only dependencies, and no
 *   `import()`. Each other entry is a file beside it.
 * - `codeforge-storage.js`, `codeforge-storage.global.js`: one file each, for pages without a bundler.
 * - `cli.js`: the command, with the libraries that only it needs. `server/`: what its `serve` and `restore` run.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { defineConfig, type Options } from 'tsup';
import packageJson from './package.json' with { type: 'json' };

const targets = Object.values(packageJson.exports).filter((target) => typeof target !== 'string');

/** Each `exports` path of package.json, `./dist/x.js`, is built from `src/x.ts`: the two cannot drift. */
const entry = targets.map((target) =>
  target.import.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts'),
);

/** The entries that have a CommonJS file of their own, by the name of that file. */
const besideIndex = Object.fromEntries(
  targets
    .map((target) => target.require.default.replace('./dist/', '').replace(/\.cjs$/, ''))
    .filter((name) => name !== 'index')
    .map((name) => [name, `src/${name}.ts`]),
);

/** The entry whose imports are all static. */
const FULL = 'src/full.ts';

/** Where the error class is. */
const ERRORS = join(import.meta.dirname, 'src/core/errors.ts');

const common: Options = { splitting: false, clean: false };

const library: Options = { ...common, platform: 'browser', target: 'es2022', sourcemap: true };

/** Declarations use `AsyncDisposable`, which is not in the `lib` of most projects. */
const dts = { banner: '/// <reference lib="esnext.disposable" />' };

/** A file for each file of `src`: what an app's bundler leaves out, and which parts it loads together, is then exact. */
const modules: Options = {
  ...library,
  entry: ['src/**/*.ts', '!src/cli/**'],
  format: 'esm',
  bundle: false,
  dts: { ...dts, entry },
  plugins: [
    {
      name: 'extensions',
      // Both extensions have the same length: source maps stay true.
      renderChunk: (code, { map }) => ({
        code: code.replace(/(\b(?:from|import) ?\(?"\.[^"]*\.)ts"/g, '$1js"'),
        map: map ?? null,
      }),
    },
  ],
};

const commonJs: Options = {
  ...library,
  entry: { index: FULL },
  format: 'cjs',
  // All of them together, so that their types are the same types.
  dts: { ...dts, entry: { index: FULL, ...besideIndex } },
  // `require` of an ES module fails in Jest, and in Node.js before 20.19.
  noExternal: ['ky', 'devalue', 'eventsource-parser', /^@noble\/hashes/],
};

const commonJsBesideIndex: Options = {
  ...library,
  entry: besideIndex,
  format: 'cjs',
  esbuildPlugins: [
    {
      name: 'shared-errors',
      // The class is that of index.cjs, so that `instanceof` holds.
      setup: (build) =>
        build.onResolve({ filter: /\/errors\.ts$/ }, ({ path, resolveDir }) =>
          join(resolveDir, path) === ERRORS ? { path: '../index.cjs', external: true } : undefined,
        ),
    },
  ],
};

const withoutBundler: Options = {
  ...library,
  entry: { 'codeforge-storage': FULL },
  format: ['esm', 'iife'],
  globalName: 'CodeforgeStorage',
  minify: true,
  noExternal: [/./],
  banner: {
    js: `/*! ${packageJson.name} ${packageJson.version}, ${packageJson.license}. It contains other packages: their licences are in licenses.txt beside this file. */`,
  },
  esbuildPlugins: [
    licences('licenses.txt', 'The files of @codeforge/storage contain code of these packages'),
  ],
};

/** The `codeforge-storage` command. */
const command: Options = {
  ...common,
  entry: { cli: 'src/cli/main.ts' },
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // CommonJS libraries call require() for modules of Node.js.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  esbuildPlugins: [
    {
      name: 'server',
      // Files of their own: Node.js before 22 runs the other commands, and has no SQLite.
      setup: (build) =>
        build.onResolve({ filter: /^@codeforge\/storage-server\/(run|restore)$/ }, ({ path }) => ({
          path: `./server/${basename(path)}.js`,
          external: true,
        })),
    },
    licences('cli-licenses.txt', 'The codeforge-storage command contains these packages'),
  ],
};

/** The server that `codeforge-storage serve` runs, and what `restore` does. */
const server: Options = {
  ...command,
  entry: { run: 'examples/server/src/run.ts', restore: 'examples/server/src/restore.ts' },
  outDir: 'dist/server',
  // The driver of a database, and SQLite, are loaded only where they are used.
  splitting: true,
  target: 'node22',
  // There is no module 'sqlite' without its prefix.
  removeNodeProtocol: false,
  // An operator installs the driver of the database server that he uses.
  external: ['pg', 'mariadb'],
  esbuildPlugins: [
    licences('server-licenses.txt', 'The server of the codeforge-storage command contains these packages'),
  ],
};

/** Writes the licences of the packages that a build contains to a file of `dist`. */
function licences(name: string, title: string): NonNullable<Options['esbuildPlugins']>[number] {
  return {
    name: 'licences',
    setup(build) {
      build.initialOptions.metafile = true;
      build.onEnd(async ({ metafile }) => {
        await mkdir('dist', { recursive: true });
        await writeFile(
          join('dist', name),
          `${title}:\n\n${await licencesOf(Object.keys(metafile?.inputs ?? {}))}`,
        );
      });
    },
  };
}

/** The licences of the packages that files are from. */
async function licencesOf(files: readonly string[]): Promise<string> {
  const folders = files.map((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]);
  const texts: string[] = [];
  for (const folder of [...new Set(folders)].sort()) {
    if (folder === undefined) continue;
    const { name, version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((found) => /^licen[cs]e/i.test(found));
    if (file === undefined) throw new Error(`${name} is part of a build, but has no licence file.`);
    texts.push(`${name} ${version}\n\n${(await readFile(join(folder, file), 'utf8')).trim()}\n`);
  }
  return texts.join(`\n${'-'.repeat(80)}\n\n`);
}

export default defineConfig([modules, commonJs, commonJsBesideIndex, withoutBundler, command, server]);
