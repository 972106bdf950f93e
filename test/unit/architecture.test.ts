/**
 * The import rules of docs/design.md: data goes one way, and so do imports.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';

const source = resolve(import.meta.dirname, '../../src');
const files = globSync('**/*.ts', { cwd: source });

/** What each folder may import: files of `src`, as prefixes, and packages. */
const RULES: Readonly<Record<string, readonly string[]>> = {
  core: ['core/', 'devalue'],
  backends: ['core/', 'idb-keyval', 'ky'],
  tools: ['core/', 'tools/', '@noble/hashes/'],
  sync: ['sync/', 'backends/', 'core/', 'api.ts'],
  cli: ['cli/', 'backends/', 'core/', 'tools/', 'config.ts', 'node:', 'commander', 'croner', 'cli-progress'],
};

/** Whose dynamic imports may lead into `sync`. */
const DYNAMIC_INTO_SYNC = ['storage.ts', 'migration.ts'];

function importsOf(file: string): string[] {
  const code = readFileSync(join(source, file), 'utf8');
  const found = [...code.matchAll(/(?:from|import\()\s*'([^']+)'/g)].map(([, specifier]) => specifier ?? '');
  return found.map((name) =>
    name.startsWith('.') ? relative(source, resolve(source, dirname(file), name)) : name,
  );
}

it('finds the sources', () => expect(files.length).toBeGreaterThan(10));

for (const file of files) {
  it(`${file} imports only what its folder may`, () => {
    const folder = dirname(file);
    for (const imported of importsOf(file)) {
      // A backend is one or more files with a common beginning; no backend imports another.
      const own =
        folder === 'backends' && imported.startsWith(`backends/${/[a-z]+/.exec(file.slice(9))?.[0]}`);
      const allowed = own || folder === '.' || RULES[folder]?.some((rule) => imported.startsWith(rule));
      expect(allowed, `${file} imports ${imported}`).toBe(true);
    }
  });
}

it('sync is loaded where a server is configured, and by nothing else', () => {
  const outside = files.filter((file) => !file.startsWith('sync/'));
  for (const file of outside) {
    const code = readFileSync(join(source, file), 'utf8');
    const leading = [...code.matchAll(/\b(import|export)\b([^;]*?)'([^']*\/sync\/[^']+)'/g)];
    for (const [statement, , between = ''] of leading) {
      const isType = /^\s+type\s/.test(between);
      const isDynamic = /^\($/.test(between) && DYNAMIC_INTO_SYNC.includes(file);
      expect(isType || isDynamic, `${file}: ${statement}`).toBe(true);
    }
  }
});

it('the library holds nothing of the command', () => {
  const outside = files.filter((file) => !file.startsWith('cli/'));
  for (const file of outside)
    for (const imported of importsOf(file))
      expect(/^(cli\/|node:)/.test(imported), `${file} imports ${imported}`).toBe(false);
});

it('index.ts holds nothing but exports', () => {
  const code = readFileSync(join(source, 'index.ts'), 'utf8').replace(/\/\*\*.*?\*\//gs, '');
  for (const line of code.split(';').map((part) => part.trim()))
    expect(line).toMatch(/^(export .* from '.*'|)$/s);
});
