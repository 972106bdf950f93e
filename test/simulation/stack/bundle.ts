/**
 * Code as a function of its globals: a bundle of TypeScript files that can be started many times, each time in a world of its own.
 *
 * The parameters of the function shadow the platform's globals (`fetch`, `indexedDB`, `setTimeout`, …) in everything that is bundled,
 * dependencies included. Nothing is written to disk.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import vm from 'node:vm';
import { build, type Plugin } from 'esbuild';

/** The root of the repository. */
const ROOT = resolve(import.meta.dirname, '../../..');

const require = createRequire(import.meta.url);

/** Starts a bundle with these globals, and returns what it exports. Globals that are not named are those of Node.js. */
export type Start<Exports> = (globals: Readonly<Record<string, unknown>>) => Exports;

/** A change of a source file, in the bundle only. */
export interface Edit {
  /** Relative to the root of the repository. */
  readonly file: string;
  /** A text that the file contains once. */
  readonly find: string;
  readonly replace: string;
}

/** An edit, if it is one of a file in a folder. */
export const editOf = (edit: Edit | undefined, folder: string): Edit | undefined =>
  edit?.file.startsWith(folder) ? edit : undefined;

/** Applies an edit while a file is loaded. The file must contain its text once. */
const editing = ({ file, find, replace }: Edit): Plugin => ({
  name: 'edit',
  setup(builder) {
    const path = join(ROOT, file);
    builder.onLoad({ filter: /\.ts$/ }, (args) => {
      if (args.path !== path) return undefined;
      const parts = readFileSync(path, 'utf8').split(find);
      if (parts.length !== 2) throw new Error(`${file} contains ${parts.length - 1} times: ${find}`);
      return { contents: parts.join(replace), loader: 'ts' };
    });
  },
});

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
  edit?: Edit,
): Promise<Start<Exports>> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: ROOT, loader: 'ts' },
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    format: 'cjs',
    platform,
    target: 'es2023',
    logLevel: 'silent',
    plugins: edit ? [editing(edit)] : [],
  });
  const start = vm.compileFunction(outputFiles[0]?.text ?? '', ['module', 'exports', 'require', ...globals]);
  return (values) => {
    const module = { exports: {} };
    start(module, module.exports, values.require ?? require, ...globals.map((name) => values[name]));
    return module.exports as Exports;
  };
}
