// `npm test` runs everything: lint, types, and all tests in Node.js, Chromium, Firefox and WebKitGTK. It installs the browsers,
// the database servers, strace, podman, reverse proxies and Python's packages where they are missing and where it may. At its end it
// names what failed, and what was skipped and why, and prints `N passed, N failed, N skipped`. With CI=true a skip is a failure.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { browserPath, ENGINES } from '../test/support/browsers.ts';
import {
  missingContainerPackages,
  missingProxies,
  PROXIES,
  unpackedFolder,
} from '../test/support/containers/programs.ts';
import { DATABASES, programsOf } from '../test/support/databases/programs.ts';
import { hasStrace, STRACE_PACKAGE } from '../test/support/strace.ts';
import { ensurePython } from './python.mjs';

const root = resolve(import.meta.dirname, '..');
// The tests start the command and the servers hundreds of times: compiled code halves the time that each start takes.
process.env.NODE_COMPILE_CACHE ??= join(root, 'node_modules/.cache/node');
const ci = process.env.CI === 'true';
const totals = { passed: 0, failed: 0, skipped: 0 };
const skips = [];
const failures = [];
const say = (line) => process.stdout.write(`${line}\n`);

function run(command, args, env = {}) {
  return spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
  });
}

/** One check that passes or fails as a whole. */
function check(name, script, ...args) {
  say(`\n▶ ${name}`);
  const quiet = { REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
  const { status } = run(process.execPath, [join(root, 'node_modules', script), ...args], quiet);
  say(status === 0 ? `✓ ${name}` : `✗ ${name}`);
  totals[status === 0 ? 'passed' : 'failed'] += 1;
  if (status !== 0) failures.push(name);
}

function skip(name, reason) {
  skips.push(`${name}: ${reason}`);
  totals[ci ? 'failed' : 'skipped'] += 1;
}

/**
 * Install packages, each list on its own: one that this distribution does not have must not keep out the others. Returns the
 * reason for those that are missing afterwards.
 */
function install(lists) {
  const names = lists.flat().join(', ');
  if (process.getuid?.() !== 0) return `only root may install ${names}`;
  if (!existsSync('/usr/bin/apt-get')) return `there is no apt-get to install ${names}`;
  say(`▶ installing ${names}`);
  const quiet = { DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], quiet);
  for (const packages of lists)
    run('apt-get', ['install', '-qq', '--yes', '--no-install-recommends', ...packages], quiet);
  return `apt-get could not install ${names}`;
}

/** Install the browsers that are missing. Returns the reason for each one that still is. */
function ensureBrowsers() {
  const missing = () => Object.keys(ENGINES).filter((name) => browserPath(name) === undefined);
  const before = missing();
  const reason = before.length === 0 ? '' : install(before.map((name) => ENGINES[name].packages));
  return new Map(
    missing().map((name) => {
      const { title, paths, needs, variable } = ENGINES[name];
      const wanted = [...paths, ...(needs ? [needs] : [])].join(' or ');
      return [
        name,
        `${title} was not found (${wanted}), and ${reason}. ${variable} can name another executable.`,
      ];
    }),
  );
}

/** Unpack packages into a folder. Nothing of them is installed or started. */
function unpack(packages, folder) {
  if (!existsSync('/usr/bin/apt-get')) return;
  say(`▶ unpacking ${packages.join(', ')}`);
  if (process.getuid?.() === 0) run('apt-get', ['update', '-qq']);
  const archives = mkdtempSync(join(tmpdir(), 'storage-packages-'));
  mkdirSync(folder, { recursive: true });
  const script =
    'cd "$1" && folder=$2 && shift 2 && apt-get download -qq -o APT::Sandbox::User=root "$@" && ' +
    'for file in *.deb; do dpkg-deb --extract "$file" "$folder"; done';
  run('bash', ['-c', script, 'unpack', archives, folder, ...packages]);
  rmSync(archives, { recursive: true });
}

/** Install the other programs that are missing. Their tests name what still is. */
function ensurePrograms() {
  const databases = Object.keys(DATABASES).filter((name) => programsOf(name) === undefined);
  const missing = databases.map((name) => DATABASES[name].packages);
  if (process.platform === 'linux' && !hasStrace()) missing.push([STRACE_PACKAGE]);
  if (process.platform === 'linux') missing.push(...missingContainerPackages().map((name) => [name]));
  if (missing.length > 0) install(missing);
  for (const name of missingProxies()) unpack(PROXIES[name].packages, unpackedFolder(name));
}

function vitest(project, env) {
  const folder = mkdtempSync(join(tmpdir(), 'storage-test-'));
  const counts = join(folder, 'counts.json');
  try {
    const args = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', project];
    const { status } = run(process.execPath, args, { ...env, TEST_COUNTS: counts });
    const result = existsSync(counts)
      ? JSON.parse(readFileSync(counts, 'utf8'))
      : { passed: 0, failed: 1, skipped: 0, failures: ['the run ended early'] };
    if (status !== 0 && result.failed === 0) result.failed = 1;
    if (ci) Object.assign(result, { failed: result.failed + result.skipped, skipped: 0 });
    for (const name of Object.keys(totals)) totals[name] += result[name];
    failures.push(...result.failures.map((line) => `${project}: ${line}`));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

check('lint', '@biomejs/biome/bin/biome', 'ci', '--colors=off', '--error-on-warnings');
check('types', 'typescript/bin/tsc');
check('unused code and dependencies', 'knip/bin/knip.js');
check('the OpenAPI document', '@redocly/cli/bin/cli.js', 'lint', 'docs/openapi.yaml');
check('build', '../scripts/build.mjs');

const skippedBrowsers = ensureBrowsers();
for (const [name, reason] of skippedBrowsers) skip(`everything in ${ENGINES[name].title}`, reason);
ensurePrograms();
const python = ensurePython();
if (python.skipped) skip('the Flask server', python.skipped);

// One after the other: the simulation uses every core, and the others wait for clocks, servers and pages.
const browsers = Object.keys(ENGINES).filter((name) => !skippedBrowsers.has(name));
const packages = browsers.includes('chromium') ? ['packages'] : [];
for (const project of ['simulation', 'node', 'servers', ...packages, ...browsers]) {
  say(`\n▶ tests: ${project}`);
  vitest(project, python.python ? { PYTHON: python.python } : {});
}

say('');
for (const line of failures) say(`Failed: ${line}`);
for (const line of skips) say(`${ci ? 'Failed, because CI skips nothing' : 'Skipped'}: ${line}`);
say(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed > 0 ? 1 : 0;
