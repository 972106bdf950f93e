import { readFile, writeFile } from 'node:fs/promises';
import { defineConfig } from 'tsup';
import packageJson from './package.json' with { type: 'json' };

/** Each `exports` path of package.json, `./dist/x.js`, is built from `src/x.ts`: the two cannot drift. */
const entry = Object.values(packageJson.exports)
  .filter((target) => typeof target !== 'string')
  .map((target) => target.import.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts'));

export default defineConfig({
  entry,
  format: ['esm', 'cjs'],
  platform: 'browser',
  target: 'es2022',
  dts: true,
  sourcemap: true,
  splitting: true,
  // Rollup's pass. Without it `splitting` writes the building machine's paths into the CommonJS maps.
  treeshake: true,
  clean: true,
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
});
