/**
 * Apps that use the package, each built by a bundler for production with as little configuration as it takes.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import * as esbuild from 'esbuild';
import * as vite from 'vite';
import { inject } from 'vitest';

/** Builds an app and returns the folder to serve. */
type Build = (source: string, output: string) => Promise<void>;

const HTML = '<!doctype html><meta charset="utf-8"><title>app</title>';
const MODULE = `${HTML}<script type="module" src="./app.js"></script>`;

const tool = (name: string) => createRequire(join(inject('packages').tools, 'package.json'))(name);

const BUILDS = {
  async Vite(source, outDir) {
    await vite.build({
      root: source,
      configFile: false,
      logLevel: 'error',
      build: { outDir, emptyOutDir: true },
    });
  },
  async webpack(source, path) {
    await writeFile(join(path, 'index.html'), `${HTML}<script defer src="./main.js"></script>`);
    const compiler = tool('webpack')({
      mode: 'production',
      entry: join(source, 'app.js'),
      output: { path },
      performance: { hints: false },
    });
    await new Promise<void>((resolve, reject) => {
      compiler.run((error: Error | null, stats: { hasErrors(): boolean; toString(): string }) => {
        compiler.close(() =>
          error || stats.hasErrors() ? reject(error ?? new Error(stats.toString())) : resolve(),
        );
      });
    });
  },
  async Rollup(source, dir) {
    await writeFile(join(dir, 'index.html'), MODULE);
    const { nodeResolve } = tool('@rollup/plugin-node-resolve');
    const onwarn = (warning: { message: string }) => {
      throw new Error(warning.message);
    };
    const bundle = await tool('rollup').rollup({
      input: join(source, 'app.js'),
      plugins: [nodeResolve({ browser: true })],
      onwarn,
    });
    await bundle.write({ dir, format: 'es' });
    await bundle.close();
  },
  async esbuild(source, outdir) {
    await writeFile(join(outdir, 'index.html'), MODULE);
    await esbuild.build({
      entryPoints: [join(source, 'app.js')],
      outdir,
      bundle: true,
      splitting: true,
      minify: true,
      format: 'esm',
      logLevel: 'error',
    });
  },
} satisfies Record<string, Build>;

export type Bundler = keyof typeof BUILDS;
export const BUNDLERS = Object.keys(BUILDS) as Bundler[];

let apps = 0;

/**
 * Builds an app whose pages hold the package as `globalThis.sdk`.
 *
 * @param entry What the app imports.
 * @returns The folder to serve.
 */
export async function buildApp(
  bundler: Bundler,
  entry: '@codeforge/storage' | '@codeforge/storage/full' = '@codeforge/storage',
): Promise<string> {
  const { source, output } = await newApp();
  await writeFile(join(source, 'app.js'), `import * as sdk from '${entry}';\nglobalThis.sdk = sdk;\n`);
  await writeFile(join(source, 'index.html'), MODULE);
  await BUILDS[bundler](source, output);
  return output;
}

/** Pages without a bundler: the files of the package, and a page for each way to load them. */
export async function plainPages(): Promise<string> {
  const { output } = await newApp();
  for (const file of ['codeforge-storage.js', 'codeforge-storage.global.js'])
    await copyFile(
      join(inject('packages').alone, 'node_modules/@codeforge/storage/dist', file),
      join(output, file),
    );
  const pages = {
    'script-tag': `<script src="./codeforge-storage.global.js"></script><script>globalThis.sdk = CodeforgeStorage;</script>`,
    'import-map': `<script type="importmap">{ "imports": { "@codeforge/storage": "./codeforge-storage.js" } }</script>
      <script type="module">import * as sdk from '@codeforge/storage'; globalThis.sdk = sdk;</script>`,
    'module-script': `<script type="module">import * as sdk from './codeforge-storage.js'; globalThis.sdk = sdk;</script>`,
  };
  for (const [name, code] of Object.entries(pages))
    await writeFile(join(output, `${name}.html`), `${HTML}${code}`);
  return output;
}

/** Folders inside the one where the package is installed. */
export async function newApp(): Promise<{ readonly source: string; readonly output: string }> {
  apps += 1;
  const folder = join(inject('packages').alone, `app-${process.pid}-${apps}`);
  const [source, output] = [join(folder, 'source'), join(folder, 'output')];
  for (const path of [source, output]) await mkdir(path, { recursive: true });
  return { source, output };
}
