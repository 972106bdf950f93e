// Packs the package, installs the tarball in an empty folder, and uses it from there as a stranger would: ESM and CommonJS
// in this Node.js and in the system's, the command, types in five resolutions, and an empty Vite app in Chromium.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright';
import { build, preview } from 'vite';
import { startTypescriptServer } from '../test/support/typescript-server.ts';

const root = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'storage-tarball-'));
const run = (command, args, cwd = folder) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
let failed = 0;
async function check(name, fn) {
  try {
    await fn();
    process.stdout.write(`ok   ${name}\n`);
  } catch (error) {
    failed += 1;
    process.stdout.write(`FAIL ${name}\n${error.stdout || error.stack}\n`);
  }
}
const expect = (condition, what) => {
  if (!condition) throw new Error(what);
};

try {
  const packed = run('npm', ['pack', '--json', '--loglevel=error', '--pack-destination', folder], root);
  // `prepack` may print before the JSON.
  const [{ filename, files }] = JSON.parse(packed.slice(packed.indexOf('[\n')));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  run('npm', ['install', '--prefer-offline', '--no-package-lock', '--loglevel=error', `./${filename}`]);

  await check('holds the build, README, LICENSE, CHANGELOG and nothing else', () => {
    const odd = files.filter(
      ({ path }) =>
        !/^(dist\/([^/]+\.(js|cjs|d\.ts|d\.cts|map)|cli-licenses\.txt)|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/.test(
          path,
        ),
    );
    expect(odd.length === 0, odd.map(({ path }) => path).join(', '));
  });

  // Without a DOM: importing is harmless, the first use says what is missing, a server works.
  const use = `
    const storage = createStorage({ logger: false });
    storage.get('a').then(() => process.exit(1), (error) => {
      if (!(error instanceof StorageError) || error.code !== 'unavailable') process.exit(2);
      const away = createStorage({ useFlask: true, flaskUrl: 'http://127.0.0.1:9', logger: false });
      return away.ready().then(() => process.exit(3), (error) => {
        if (!/127\\.0\\.0\\.1:9/.test(error.message)) process.exit(4);
        process.stdout.write('used');
      });
    });`;
  // Debian's node, macOS's or whatever else is installed beside the one that runs this script.
  const nodes = new Set([process.execPath, '/usr/bin/node', '/usr/local/bin/node'].filter(existsSync));
  for (const node of nodes) {
    const version = run(node, ['--version']).trim();
    await check(`import in Node.js ${version}`, () => {
      const code = `import { createStorage, StorageError } from '@codeforge/storage';${use}`;
      expect(run(node, ['--input-type=module', '-e', code]) === 'used', 'not used');
    });
    await check(`require in Node.js ${version}`, () => {
      const code = `const { createStorage, StorageError } = require('@codeforge/storage');${use}`;
      expect(run(node, ['--input-type=commonjs', '-e', code]).endsWith('used'), 'not used');
    });
  }

  // As the test suites of apps do it.
  const fake = pathToFileURL(join(root, 'node_modules/fake-indexeddb/auto/index.mjs'));
  for (const node of nodes)
    await check(`fake-indexeddb in Node.js ${run(node, ['--version']).trim()}`, () => {
      const code = `
        import '${fake}';
        import { createStorage } from '@codeforge/storage';
        const storage = createStorage({ logger: false });
        await storage.setMany([['a', 1], ['b', new Map([['c', 2n]])]]);
        const listed = [(await storage.keys()).length, 0];
        for await (const _ of storage.entries()) listed[1] += 1;
        const backup = await new Response(await storage.export()).text();
        const { revision } = await storage.getEntry('b');
        await storage.set('b', 3, { ifRevision: revision });
        process.stdout.write(JSON.stringify([...listed, (await storage.stats()).keys, /"b"/.test(backup), await storage.getMany(['a', 'b'])]));
        process.exit();`;
      const used = run(node, ['--input-type=module', '-e', code]);
      expect(used === '[2,2,2,true,[1,3]]', used);
    });

  const server = await startTypescriptServer();
  try {
    await check('the command, by npx', () => {
      expect(
        run('npx', ['--no-install', 'codeforge-storage', '--help']).includes('backup [options]'),
        'no help',
      );
    });
    for (const node of nodes) {
      const command = (...args) =>
        run(node, [join(folder, 'node_modules/@codeforge/storage/dist/cli.js'), ...args]);
      await check(`the command in Node.js ${run(node, ['--version']).trim()}`, async () => {
        await fetch(`${server.url}/api/storage/exact`, {
          method: 'PUT',
          headers: { 'content-type': 'application/json' },
          body: '{"value":12345678901234567890}',
        });
        expect(JSON.parse(command('status', server.url, '--json')).keys === 1, 'status');
        expect(command('export', server.url).includes('"value":12345678901234567890}'), 'export');
        command('export', server.url, 'backup.ndjson');
        expect(JSON.parse(command('verify', 'backup.ndjson', '--json')).checksum === 'verified', 'verify');
        expect(JSON.parse(command('import', server.url, 'backup.ndjson', '--json')).verified === 1, 'import');
        const backups = ['--once', '--dir', `backups ${process.hrtime.bigint()}`];
        expect(JSON.parse(command('backup', server.url, ...backups, '--json')).verified, 'backup');
        expect(command('backup', '--help').includes('--every <schedule>'), 'help');
      });
    }
  } finally {
    await server.stop();
  }

  await check('types in five resolutions', () => {
    const typed = `const storage = createStorage<{ n: number }>();\nstorage.get('n').then((n) => n?.toFixed());\nnew StorageError('quota', 'm').code satisfies string;\n`;
    writeFileSync(
      join(folder, 'a.mts'),
      `import { createStorage, StorageError } from '@codeforge/storage';\n${typed}`,
    );
    writeFileSync(
      join(folder, 'a.cts'),
      `import storage_ = require('@codeforge/storage');\nconst { createStorage, StorageError } = storage_;\n${typed}`,
    );
    for (const [module, moduleResolution, file] of [
      ['nodenext', 'nodenext', 'a.mts'],
      ['nodenext', 'nodenext', 'a.cts'],
      ['node16', 'node16', 'a.mts'],
      ['node20', 'node16', 'a.cts'],
      ['esnext', 'bundler', 'a.mts'],
    ]) {
      const compilerOptions = {
        ...{
          module,
          moduleResolution,
          target: 'es2022',
          lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'],
        },
        ...{ strict: true, noEmit: true, types: [] },
      };
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [file] }));
      run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.']);
    }
  });

  await check('an empty Vite app in Chromium', async () => {
    const app = join(folder, 'app');
    mkdirSync(app);
    writeFileSync(
      join(app, 'index.html'),
      '<!doctype html><script type="module" src="./main.js"></script><output></output>',
    );
    writeFileSync(
      join(app, 'main.js'),
      `import { createStorage } from '@codeforge/storage';
       const storage = createStorage({ logger: false });
       const visits = await storage.update('visits', (n) => (n ?? 0) + 1);
       await storage.set('when', new Map([['now', new Date(5)]]));
       const when = await storage.get('when');
       document.querySelector('output').textContent = 'visits: ' + visits + ', ' + when.get('now').getTime();`,
    );
    await build({ root: app, logLevel: 'warn', configFile: false });
    const server = await preview({
      root: app,
      logLevel: 'warn',
      configFile: false,
      preview: { port: 0, host: '127.0.0.1' },
    });
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-background-networking'],
    });
    try {
      const page = await browser.newPage();
      await page.goto(server.resolvedUrls.local[0]);
      await page.getByText('visits: 1, 5').waitFor({ timeout: 10_000 });
      await page.reload();
      await page.getByText('visits: 2, 5').waitFor({ timeout: 10_000 });
    } finally {
      await browser.close();
      await server.close();
    }
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed > 0 ? 1 : 0;
