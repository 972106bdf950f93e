// `npm test`: everything, and what it needs. Sets up Chromium and Python where they are missing, runs lint, types and
// every test, names what failed and what had to be skipped and why, and ends with `N passed, N failed, N skipped`.
// With CI=true a skip is a failure.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ensurePython } from './python.mjs';

const root = resolve(import.meta.dirname, '..');
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

/** The browser's path, installed first where that is possible. */
function ensureChromium() {
  const path = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';
  if (existsSync(path)) return { path };
  if (process.getuid?.() !== 0)
    return { skipped: `no Chromium at ${path}, and only root may install it (CHROMIUM_PATH names another)` };
  if (!existsSync('/usr/bin/apt-get'))
    return { skipped: `no Chromium at ${path}, and no apt-get to install it` };
  say('▶ installing Chromium');
  const quiet = { DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], quiet);
  run('apt-get', ['install', '-qq', '--yes', '--no-install-recommends', 'chromium'], quiet);
  return existsSync(path) ? { path } : { skipped: 'apt-get could not install Chromium' };
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
check('build', 'tsup/dist/cli-default.js', '--silent');

const chromium = ensureChromium();
if (chromium.skipped) skip('everything in Chromium', chromium.skipped);
const python = ensurePython();
if (python.skipped) skip('the Flask server', python.skipped);

// One after the other: the simulation uses every core, and the others wait for clocks, servers and pages.
for (const project of ['simulation', 'node', 'servers', ...(chromium.path ? ['chromium'] : [])]) {
  say(`\n▶ tests: ${project}`);
  vitest(project, {
    ...(chromium.path && { CHROMIUM_PATH: chromium.path }),
    ...(python.python && { PYTHON: python.python }),
  });
}

say('');
for (const line of failures) say(`Failed: ${line}`);
for (const line of skips) say(`${ci ? 'Failed, because CI skips nothing' : 'Skipped'}: ${line}`);
say(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed > 0 ? 1 : 0;
