/**
 * Finds, or makes, a Python that runs examples/flask-server.
 *
 * In this order: `$PYTHON`, the example's `.venv`, a new `.venv` filled by pip, and only then whatever Python on the
 * PATH happens to have the packages. So a newcomer gets what requirements.txt says, and whoever has no network, or no
 * `venv`, still gets a server where the system's own packages are in range.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const flaskFolder = resolve(import.meta.dirname, '../examples/flask-server');

/** Arguments for Python; gunicorn reads its settings from `gunicorn.conf.py`, so it must start in `flaskFolder`. */
export const gunicornArguments = ['-m', 'gunicorn', 'app:app'];

const installLimitMs = 180_000;
const venvPython = join(flaskFolder, '.venv/bin/python');
const systemPythons = ['python3', 'python', '/usr/bin/python3'];

/** Each `{ name, bounds: [['>=', [3, 1]], …] }` of requirements.txt. */
const requirements = readFileSync(join(flaskFolder, 'requirements.txt'), 'utf8')
  .split('\n')
  .map((line) => line.match(/^([\w-]+)(.*)$/))
  .filter((match) => match !== null)
  .map(([, name, ranges]) => ({
    name,
    bounds: [...ranges.matchAll(/(>=|<)\s*([\d.]+)/g)].map(([, sign, text]) => [sign, numbers(text)]),
  }));

const probe = `
import json, sys, flask, flask_cors, gunicorn
from importlib.metadata import version
print(json.dumps([version(name) for name in sys.argv[1:]]))`;

/**
 * The `.venv`, made or brought into range. A lock on the folder, which dies with its holder, keeps two processes from
 * making it at once; the second finds it made and pip has nothing to do.
 */
const install = `
import fcntl, os, shutil, subprocess, sys
folder = os.open(".", os.O_RDONLY)
fcntl.flock(folder, fcntl.LOCK_EX)
def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout)
    return done.returncode == 0
def pip():
    return run(".venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--retries", "1", "--timeout", "15", "-r", "requirements.txt")
if os.path.exists(".venv/bin/python") and pip():
    sys.exit()
if not run(sys.executable, "-m", "venv", "--clear", ".venv") or not pip():
    shutil.rmtree(".venv", ignore_errors=True)
    sys.exit(1)`;

/**
 * The Python to start the Flask server with, and how it was come by; or why there is none. Blocks while it installs,
 * for three minutes at most. Any number of processes may call it at once.
 *
 * @returns {{ python: string, how: string } | { skipped: string }}
 */
export function ensurePython() {
  if (process.platform === 'win32') return { skipped: 'gunicorn does not run on Windows' };
  const given = process.env.PYTHON?.includes('/') ? resolve(process.env.PYTHON) : process.env.PYTHON;
  if (given && inRange(given)) return { python: given, how: '$PYTHON' };
  if (inRange(venvPython)) return { python: venvPython, how: '.venv' };

  const base = systemPythons.find(
    (name) => run(name, ['-c', 'import sys; sys.exit(sys.version_info < (3, 10))']).ok,
  );
  if (!base) return { skipped: 'no python3 (3.10 or newer) on the PATH' };
  const made = run(base, ['-c', install], installLimitMs);
  if (made.ok && inRange(venvPython)) return { python: venvPython, how: 'a new .venv' };

  const ready = systemPythons.find(inRange);
  return ready ? { python: ready, how: 'the system, as is' } : { skipped: reason(base, made) };
}

/** Whether this Python imports what requirements.txt names, in the versions it asks for. */
function inRange(python) {
  const { ok, output } = run(python, ['-c', probe, ...requirements.map(({ name }) => name)]);
  if (!ok) return false;
  const versions = JSON.parse(output).map(numbers);
  return requirements.every(({ bounds }, index) =>
    bounds.every(([sign, bound]) => compare(versions[index], bound) >= 0 === (sign === '>=')),
  );
}

function reason(base, { output, timedOut }) {
  if (timedOut) return `installing Flask took over ${installLimitMs / 1000} s`;
  if (output.includes('ensurepip')) return `${base} has no ensurepip: install your system's python3-venv`;
  const last = output.trim().split('\n').at(-1);
  return `pip could not install examples/flask-server/requirements.txt: ${last}`;
}

function run(python, args, timeout = 30_000) {
  const done = spawnSync(python, args, {
    cwd: flaskFolder,
    encoding: 'utf8',
    timeout,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return { ok: done.status === 0, output: done.stdout ?? '', timedOut: done.error?.code === 'ETIMEDOUT' };
}

function numbers(version) {
  return version.split('.').map((part) => Number.parseInt(part, 10) || 0);
}

function compare(left, right) {
  const at = right.findIndex((part, index) => (left[index] ?? 0) !== part);
  return at < 0 ? 0 : (left[at] ?? 0) - right[at];
}
