/** The reference server's layers: http/ knows no SQL, store/ knows no HTTP, and the rules of the store know no database. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';

const source = resolve(import.meta.dirname, '../../examples/server/src');

/** What the files of a folder import: modules, and files relative to `src`. */
function importsOf(pattern: string): Array<readonly [file: string, name: string]> {
  const files = globSync(pattern, { cwd: source });
  expect(files.length).toBeGreaterThan(2);
  return files.flatMap((file) =>
    [...readFileSync(join(source, file), 'utf8').matchAll(/\bfrom '([^']+)'/g)].map(([, name = '']) => {
      const path = resolve(source, dirname(file), name);
      return [file, name.startsWith('.') ? relative(source, path) : name] as const;
    }),
  );
}

const LAYERS = [
  ['http/**/*.ts', /^(store\/(sqlite|postgres|mysql)\/|node:sqlite$|pg$|mariadb$)/],
  ['store/**/*.ts', /^(http\/|node:https?$)/],
  ['store/*.ts', /^(store\/(sqlite|postgres|mysql)\/|node:sqlite$|pg$|mariadb$)/],
  // Only the driver of the database in use is loaded.
  ['*.ts', /^(store\/(sqlite|postgres|mysql)\/|node:sqlite$|pg$|mariadb$)/],
] as const;

for (const [pattern, forbidden] of LAYERS)
  it(`${pattern} imports nothing of ${forbidden.source}`, () => {
    expect(importsOf(pattern).filter(([, name]) => forbidden.test(name))).toEqual([]);
  });
