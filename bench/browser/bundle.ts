/**
 * Apps and pages bundled from source by Vite, as for production: minified, each dynamic import a file of its own.
 */
import { join } from 'node:path';
import { build, type Rolldown } from 'vite';

/** A file by its path below the server's root. */
export type Files = ReadonlyMap<string, string>;

export type Chunk = Rolldown.OutputChunk;

/** The module that is bundled: beside this file, for what it imports. */
const APP = join(import.meta.dirname, 'app.ts');

/** Bundle a module's text. Its entry comes first. */
export async function bundle(code: string): Promise<readonly Chunk[]> {
  const built = await build({
    root: join(import.meta.dirname, '../..'),
    configFile: false,
    publicDir: false,
    logLevel: 'error',
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      reportCompressedSize: false,
      rollupOptions: { input: APP },
    },
    plugins: [
      {
        name: 'app',
        enforce: 'pre',
        resolveId: (id) => (id === APP ? APP : undefined),
        load: (id) => (id === APP ? code : undefined),
      },
    ],
  });
  const { output } = built as Rolldown.RolldownOutput;
  return output.filter((file) => file.type === 'chunk').sort((a, b) => Number(b.isEntry) - Number(a.isEntry));
}

/** A chunk and all that loads together with it. */
export function closureOf(chunks: readonly Chunk[], chunk: Chunk): ReadonlySet<Chunk> {
  const found = new Set<Chunk>();
  const visit = (next: Chunk | undefined): void => {
    if (next === undefined || found.has(next)) return;
    found.add(next);
    for (const name of next.imports) visit(chunks.find(({ fileName }) => fileName === name));
  };
  visit(chunk);
  return found;
}

/**
 * A page that runs a module, in a folder of its own.
 *
 * @param folder Without slashes at its ends.
 */
export async function bundlePage(folder: string, code: string): Promise<Files> {
  const chunks = await bundle(code);
  const [entry] = chunks;
  if (entry === undefined) throw new Error(`Nothing was bundled for ${folder}`);
  const links = [...closureOf(chunks, entry)]
    .filter((chunk) => chunk !== entry)
    .map(({ fileName }) => `<link rel="modulepreload" href="${fileName}">`);
  const html = `<!doctype html><meta charset="utf-8"><title>bench</title>${links.join('')}<script type="module" src="${entry.fileName}"></script>`;
  return new Map([
    [`/${folder}/`, html],
    ...chunks.map(({ fileName, code }) => [`/${folder}/${fileName}`, code] as const),
  ]);
}
