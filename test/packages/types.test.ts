/** The declarations compile in strict projects whose `lib` is ES2022 and DOM, in the resolutions of TypeScript 5 and 6. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { expect, inject, it } from 'vitest';
import { run } from './nodes.ts';

const { alone, tools } = inject('packages');

const COMPILERS = {
  'TypeScript 6': resolve(import.meta.dirname, '../../node_modules/typescript'),
  'TypeScript 5': join(tools, 'node_modules/typescript-5'),
};

const USE = `
  const storage = createStorage<{ n: number }>();
  storage.get('n').then((n) => n?.toFixed());
  new StorageError('quota', 'm').code satisfies string;
  const keys: Promise<Array<'n'>> = storage.keys();`;

/** Whose files are ES modules and CommonJS, both at once where a project may have both. */
const RESOLUTIONS = [
  ['nodenext', 'nodenext', ['mts', 'cts']],
  ['node16', 'node16', ['mts', 'cts']],
  ['esnext', 'bundler', ['mts']],
] as const;

const ADAPT = `
  const storage = createStorage<{ n: number }>();
  asAsyncStorage(storage, { prefix: 'a:' }).getItem('a').then((text) => text?.length);
  asStateStorage<Date>(storage.namespace('b:')).getItem('a').then((stored) => stored?.state.getTime());
  asUnstorageDriver(storage, { base: 'c' }).getKeys().then((keys) => keys.length);`;

const OBSERVE = `
  const theme = observe(createStorage<{ theme: string }>(), 'theme', { initial: 'light' });
  theme.subscribe((value, { state }) => value.length + state.length).unsubscribe();`;

const HOOKS = `
  const storage = createStorage<{ n: number }>();
  const [n, setN] = useStored(storage, 'n', { initial: 0 });
  setN((before) => before + n);
  const [keys] = useKeys(storage, { limit: 5 });
  useStorageStatus(storage).state satisfies string;
  keys[0] satisfies 'n' | undefined;`;

const [MAIN, FULL] = ['@codeforge/storage', '@codeforge/storage/full'];

/** What files import from which entries, and do with it. */
const FILES = [
  [{ [MAIN]: 'createStorage, StorageError' }, USE],
  [{ [FULL]: 'createStorage, StorageError' }, USE],
  [
    {
      [MAIN]: 'createStorage',
      '@codeforge/storage/adapters': 'asAsyncStorage, asStateStorage, asUnstorageDriver',
    },
    ADAPT,
  ],
  [{ [MAIN]: 'createStorage', '@codeforge/storage/observe': 'observe' }, OBSERVE],
  [{ [MAIN]: 'createStorage', '@codeforge/storage/react': 'useStored, useKeys, useStorageStatus' }, HOOKS],
] as const;

const IMPORTS = {
  mts: (names: string, entry: string) => `import { ${names} } from '${entry}';\n`,
  cts: (names: string, entry: string, i: number) =>
    `import sdk${i} = require('${entry}');\nconst { ${names} } = sdk${i};\n`,
};

for (const [name, compiler] of Object.entries(COMPILERS))
  for (const [module, moduleResolution, extensions] of RESOLUTIONS)
    it(`${name}, moduleResolution ${moduleResolution}: .${extensions.join(' and .')}`, async () => {
      const { version } = createRequire(join(compiler, 'package.json'))('./package.json');
      expect(`TypeScript ${version.split('.')[0]}`).toBe(name);
      const folder = join(alone, 'types', `${name} ${module}`);
      await mkdir(folder, { recursive: true });
      const files = extensions.flatMap((extension) =>
        FILES.map(([imports, use], i) => {
          const lines = Object.entries(imports).map(([entry, names], n) =>
            IMPORTS[extension](names, entry, n),
          );
          return [`${i}.${extension}`, lines.join('') + use] as const;
        }),
      );
      for (const [file, code] of files) await writeFile(join(folder, file), code);
      const compilerOptions = {
        module,
        moduleResolution,
        target: 'es2022',
        lib: ['ES2022', 'DOM'],
        skipLibCheck: false,
        strict: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
        types: [],
      };
      await writeFile(
        join(folder, 'tsconfig.json'),
        JSON.stringify({ compilerOptions, files: files.map(([file]) => file) }),
      );
      const ended = await run(process.execPath, [join(compiler, 'bin/tsc'), '-p', '.'], { cwd: folder });
      expect(ended).toMatchObject({ code: 0, stdout: '' });
    });
