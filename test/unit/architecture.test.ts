/**
 * The import rules of docs/design.md: folders are roles, and imports run one way. Type imports and `import()` count too.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';

const source = resolve(import.meta.dirname, '../../src');
const files = globSync('**/*.ts', { cwd: source }).sort();

/** What each folder may import besides itself: other folders of `src`, files of `src`, and packages. */
const RULES: Readonly<Record<string, readonly string[]>> = {
  core: ['devalue'],
  'backup-format': ['core/', '@noble/hashes/'],
  indexeddb: ['core/', 'idb-keyval'],
  remote: ['core/', 'ky', 'eventsource-parser'],
  sync: ['remote/', 'indexeddb/', 'core/'],
  watch: ['core/'],
  transfer: ['sync/', 'remote/', 'indexeddb/', 'backup-format/', 'core/'],
  // Of the storage that these are handed they know the types only.
  adapters: ['api.ts', 'core/errors.ts', 'core/options.ts'],
  observe: ['api.ts', 'call-options.ts', 'core/errors.ts', 'core/platform.ts'],
  react: ['observe/', 'api.ts', 'call-options.ts', 'core/errors.ts', 'core/session.ts', 'react'],
  cli: [
    'transfer/',
    'remote/',
    'backup-format/',
    'core/',
    'node:',
    'commander',
    'croner',
    'cli-progress',
    '@codeforge/storage-server/',
  ],
};

/** What each part of `sync` may import besides itself. The entries `session.ts` and `index.ts` may import all of them. */
const SYNC_RULES: Readonly<Record<string, readonly string[]>> = {
  rules: ['core/json.ts', 'core/changes.ts'],
  'database.ts': ['sync/rules/', 'indexeddb/', 'core/'],
  tabs: ['sync/database.ts', 'core/'],
  mirror: ['sync/database.ts', 'sync/rules/', 'remote/', 'core/'],
  outbox: ['sync/tabs/', 'sync/mirror/', 'sync/database.ts', 'sync/rules/', 'indexeddb/', 'remote/', 'core/'],
  online: [
    'sync/outbox/',
    'sync/tabs/',
    'sync/mirror/',
    'sync/database.ts',
    'sync/rules/',
    'remote/',
    'core/',
  ],
};

/** Each import of a file: of what, and whether it is an `import()`. */
function importsOf(file: string): Array<{ readonly name: string; readonly isDynamic: boolean }> {
  const code = readFileSync(join(source, file), 'utf8');
  return [...code.matchAll(/(?:\bfrom|\bimport|(typeof )?\b(import)\()\s*'([.@\w][^'\s,;]*)'/g)].map(
    (found) => {
      const [, isTypeOf, isCall, name = ''] = found;
      return {
        name: name.startsWith('.') ? relative(source, resolve(source, dirname(file), name)) : name,
        isDynamic: isCall !== undefined && isTypeOf === undefined,
      };
    },
  );
}

/** The files with an `import()`: of the parts that some apps do not need, and of the server for `serve` and `restore`. */
const LOADERS = ['create-storage.ts', 'cli/commands/restore.ts', 'cli/commands/serve.ts'];

const folderOf = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '');

it('finds the sources', () => expect(files.length).toBeGreaterThan(10));

for (const file of files) {
  const folder = folderOf(file);
  if (folder !== '')
    it(`${file} imports only what its folder may`, () => {
      for (const { name } of importsOf(file)) {
        const allowed = [`${folder}/`, ...(RULES[folder] ?? [])].some((rule) => name.startsWith(rule));
        expect(allowed, `${file} imports ${name}`).toBe(true);
      }
    });
}

for (const file of files.filter((file) => folderOf(file) === 'sync')) {
  const [, part = ''] = file.split('/');
  const rules = SYNC_RULES[part];
  if (rules)
    it(`${file} imports only what its part of sync may`, () => {
      for (const { name } of importsOf(file)) {
        const allowed = [`sync/${part}/`, ...rules].some((rule) => name.startsWith(rule));
        expect(allowed, `${file} imports ${name}`).toBe(true);
      }
    });
}

it('only core/platform.ts touches a browser global that may be missing or throw', () => {
  const globals =
    /\b(globalThis\.(\w+)|(indexedDB|navigator|document|localStorage|sessionStorage)\b[.?]|BroadcastChannel\b|typeof (indexedDB|navigator|document|location)\b)/;
  for (const file of files.filter((file) => file !== 'core/platform.ts' && folderOf(file) !== 'cli')) {
    const code = readFileSync(join(source, file), 'utf8').replace(/\/\*.*?\*\//gs, '');
    expect(globals.exec(code)?.[0], file).toBeUndefined();
  }
});

it('only create-storage.ts loads parts, and there are three', () => {
  expect(importsOf('create-storage.ts').filter(({ isDynamic }) => isDynamic)).toHaveLength(3);
  for (const file of files.filter((file) => !LOADERS.includes(file)))
    for (const { name, isDynamic } of importsOf(file)) expect(isDynamic, `${file} loads ${name}`).toBe(false);
});

it('no files import each other in a circle', () => {
  const graph = new Map(files.map((file) => [file, importsOf(file).map(({ name }) => name)]));
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    expect(path, `a circle: ${[...path, file].join(' → ')}`).not.toContain(file);
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) if (graph.has(next)) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

it('the library holds nothing of the command', () => {
  for (const file of files.filter((file) => folderOf(file) !== 'cli'))
    for (const { name } of importsOf(file))
      expect(/^(cli\/|node:)/.test(name), `${file} imports ${name}`).toBe(false);
});

it('index.ts holds nothing but exports', () => {
  const code = readFileSync(join(source, 'index.ts'), 'utf8').replace(/\/\*\*.*?\*\//gs, '');
  for (const line of code.split(';').map((part) => part.trim()))
    expect(line).toMatch(/^(export .* from '.*'|)$/s);
});
