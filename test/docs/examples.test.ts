/**
 * The code in the documents runs: each TypeScript block by itself, against a real server.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, expect, inject, it } from 'vitest';
import { createStorage } from '../../src/index.ts';

const root = new URL('../../', import.meta.url);
const folder = new URL('node_modules/.cache/documented-examples/', root);
const server = inject('documentedServer');

afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(async () => {
  const storage = createStorage({ logger: false });
  await storage.clear();
  await storage.close();
});

for (const document of ['README.md', 'docs/guide.md', 'docs/adapters.md', 'docs/frameworks.md']) {
  const text = await readFile(new URL(document, root), 'utf8');
  const blocks = [...text.matchAll(/```(tsx?)\n(.*?)```/gs)];

  it(`${document} has examples`, () => expect(blocks).not.toEqual([]));

  for (const [i, [, extension, code = '']] of blocks.entries()) {
    it(`${document}: example ${i + 1} runs`, async () => {
      await mkdir(folder, { recursive: true });
      const file = new URL(`${document.replaceAll('/', '-')}-${i + 1}.${extension}`, folder);
      await writeFile(file, code.replaceAll('http://localhost:5001', server.url));
      await import(/* @vite-ignore */ fileURLToPath(file));
    });
  }
}
