/**
 * The package as strangers get it: packed once for all tests of this folder, and installed from the tarball in two temporary folders:
 * alone, and beside the tools that apps are built and tested with.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';

const root = resolve(import.meta.dirname, '../..');

export interface Packages {
  /** A folder in whose `node_modules` there is the package with its dependencies, and nothing else. */
  readonly alone: string;
  /** A folder with the package too, the tools of `tools/package.json`, and the suites that they run. */
  readonly tools: string;
  /** The paths of the tarball's files. */
  readonly files: readonly string[];
}

declare module 'vitest' {
  export interface ProvidedContext {
    packages: Packages;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'storage-packages-'));
  const remove = () => rm(folder, { recursive: true, force: true, maxRetries: 5 });
  try {
    const [alone, tools] = [join(folder, 'alone'), join(folder, 'tools')];
    await mkdir(alone);
    await writeFile(join(alone, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    await cp(join(import.meta.dirname, 'tools'), tools, { recursive: true });

    // `npm pack` builds first.
    const packed = await npm(root, 'pack', '--json', '--pack-destination', folder);
    const [{ filename, files }] = JSON.parse(packed.slice(packed.indexOf('[\n')));
    const tarball = join(tools, 'codeforge-storage.tgz');
    await rename(join(folder, filename), tarball);
    await npm(alone, 'install', '--ignore-scripts', tarball);
    await npm(tools, 'install', '--ignore-scripts');
    await npm(join(tools, 'react-18'), 'install', '--ignore-scripts');
    project.provide('packages', { alone, tools, files: files.map(({ path }: { path: string }) => path) });
    return remove;
  } catch (error) {
    await remove();
    throw error;
  }
}

/** What npm prints. */
async function npm(cwd: string, ...args: string[]): Promise<string> {
  const quiet = ['--loglevel=error', '--no-audit', '--no-fund', '--no-package-lock', '--prefer-offline'];
  const { stdout } = await promisify(execFile)('npm', [...args, ...quiet], {
    cwd,
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout;
}
