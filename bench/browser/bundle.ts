/**
 * Pages bundled from source the way an app is for production: minified, each dynamic import a file of its own.
 */
import { build } from 'esbuild';

/** A file by its path below `/`. */
export type Files = ReadonlyMap<string, Uint8Array>;

/**
 * A page that runs `code`.
 *
 * @param folder Where the page and its files are found, without slashes at its ends.
 */
export async function bundlePage(folder: string, code: string): Promise<Files> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: import.meta.dirname, sourcefile: 'app.ts', loader: 'ts' },
    bundle: true,
    minify: true,
    splitting: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    conditions: ['production', 'module'],
    define: { 'process.env.NODE_ENV': '"production"' },
    outdir: '/',
    entryNames: 'app',
    write: false,
    logLevel: 'error',
  });
  const html =
    '<!doctype html><meta charset="utf-8"><title>bench</title><script type="module" src="app.js"></script>';
  return new Map<string, Uint8Array>([
    [`/${folder}/`, new TextEncoder().encode(html)],
    ...outputFiles.map(({ path, contents }) => [`/${folder}${path}`, contents] as const),
  ]);
}
