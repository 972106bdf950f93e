/** Versions of the packages that take part, from what is installed. */
import { readFile } from 'node:fs/promises';

/** `name version` of each. */
export function versionsOf(names: readonly string[]): Promise<string[]> {
  return Promise.all(
    names.map(async (name) => {
      const path = new URL(`../../node_modules/${name}/package.json`, import.meta.url);
      return `${name} ${JSON.parse(await readFile(path, 'utf8')).version}`;
    }),
  );
}
