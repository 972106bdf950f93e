/**
 * Code as a function of its globals: a bundle of TypeScript files that can be started many times, each time in a world of its own.
 *
 * The parameters of the function shadow the platform's globals (`fetch`, `indexedDB`, `setTimeout`, …) in everything that is bundled,
 * dependencies included. Nothing is written to disk.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import vm from 'node:vm';
import { build } from 'esbuild';

/** The root of the repository. */
const ROOT = resolve(import.meta.dirname, '../../..');

const require = createRequire(import.meta.url);

/** Starts a bundle with these globals, and returns what it exports. Globals that are not named are those of Node.js. */
export type Start<Exports> = (globals: Readonly<Record<string, unknown>>) => Exports;

/**
 * Bundles a module.
 *
 * @param source The module's text. Its imports are relative to the root of the repository.
 * @param globals The names of the globals that `Start` may replace. Those that it does not name are `undefined`.
 */
export async function bundle<Exports>(
  source: string,
  platform: 'browser' | 'node',
  globals: readonly string[],
): Promise<Start<Exports>> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: ROOT, loader: 'ts' },
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    format: 'cjs',
    platform,
    target: 'es2023',
    logLevel: 'error',
  });
  const start = vm.compileFunction(outputFiles[0]?.text ?? '', ['module', 'exports', 'require', ...globals]);
  return (values) => {
    const module = { exports: {} };
    start(module, module.exports, values.require ?? require, ...globals.map((name) => values[name]));
    return module.exports as Exports;
  };
}
