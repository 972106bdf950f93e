import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineConfig, type Options } from 'tsup';
import packageJson from './package.json' with { type: 'json' };

/** Each `exports` path of package.json, `./dist/x.js`, is built from `src/x.ts`: the two cannot drift. */
const entry = Object.values(packageJson.exports)
  .filter((target) => typeof target !== 'string')
  .map((target) => target.import.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts'));

const library: Options = {
  entry,
  format: ['esm', 'cjs'],
  platform: 'browser',
  target: 'es2022',
  dts: true,
  sourcemap: true,
  splitting: true,
  // Rollup's pass. Without it `splitting` writes the building machine's paths into the CommonJS maps.
  treeshake: true,
  // The command is built at the same time.
  clean: ['!cli.js', '!cli-licenses.txt'],
  plugins: [
    {
      // Rollup and tsup each add the comment that names the source map.
      name: 'one-source-map-comment',
      async buildEnd({ writtenFiles }) {
        for (const { name } of writtenFiles.filter((file) => /\.c?js$/.test(file.name))) {
          const code = await readFile(name, 'utf8');
          await writeFile(name, code.replace(/(\n\/\/# sourceMappingURL=\S+)\1/, '$1'));
        }
      },
    },
  ],
};

/** The `codeforge-storage` command: one file, with the libraries that only it needs inside. */
const command: Options = {
  entry: { cli: 'src/cli/main.ts' },
  format: 'esm',
  platform: 'node',
  target: 'node20',
  splitting: false,
  clean: false,
  // What was CommonJS asks for Node.js's own modules by require().
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  esbuildPlugins: [
    {
      name: 'licenses',
      setup(build) {
        build.initialOptions.metafile = true;
        build.onEnd(async ({ metafile }) => {
          await mkdir('dist', { recursive: true });
          await writeFile('dist/cli-licenses.txt', await licensesOf(Object.keys(metafile?.inputs ?? {})));
        });
      },
    },
  ],
};

/** The licences of the packages that files are from. Each has to come along with the code. */
async function licensesOf(files: readonly string[]): Promise<string> {
  const folders = files.map((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]);
  const texts: string[] = [];
  for (const folder of [...new Set(folders)].sort()) {
    if (folder === undefined) continue;
    const { name, version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((found) => /^licen[cs]e/i.test(found));
    if (file === undefined) throw new Error(`${name} is in the command, but has no licence file.`);
    texts.push(`${name} ${version}\n\n${(await readFile(join(folder, file), 'utf8')).trim()}\n`);
  }
  return `The codeforge-storage command contains these packages:\n\n${texts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

export default defineConfig([library, command]);
