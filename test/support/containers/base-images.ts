/**
 * Stand-ins for the base images of the Dockerfiles, where no registry of images can be reached: Debian with Node.js, Python or nginx,
 * made of the files of this machine's own packages.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type Podman, succeeded } from './podman.ts';
import { unpackedFolder } from './programs.ts';

/** Not needed in a container. */
const UNWANTED = /^\/usr\/share\/(?:doc|man|info|locale|lintian|bug|i18n|zoneinfo|common-licenses)\//;

interface DebianPackage {
  readonly isEssential: boolean;
  readonly depends: readonly string[];
}

/** The names in a field such as `Depends`, without versions. */
const namesIn = (field = ''): string[] =>
  field
    .split(/[,|]/)
    .map((part) => part.trim().split(/[ :(]/)[0] as string)
    .filter((name) => name !== '');

/** The essential packages, those with these names, and all that they depend on. */
async function packagesWith(wanted: readonly string[]): Promise<string[]> {
  const fields = ['Package', 'Essential', 'Pre-Depends', 'Depends', 'Provides', 'db:Status-Status'];
  const format = `${fields.map((name) => `\${${name}}`).join('\t')}\n`;
  const packages = new Map<string, DebianPackage>();
  const providers = new Map<string, string>();
  for (const line of (await succeeded('dpkg-query', ['--show', '--showformat', format])).split('\n')) {
    const [name = '', essential, before, depends, provides, status] = line.split('\t');
    if (status !== 'installed') continue;
    packages.set(name, {
      isEssential: essential === 'yes',
      depends: [...namesIn(before), ...namesIn(depends)],
    });
    for (const provided of namesIn(provides)) providers.set(provided, name);
  }
  const essential = [...packages].filter(([, { isEssential }]) => isEssential).map(([name]) => name);
  const taken = new Set<string>();
  const queue = [...essential, ...wanted];
  for (const name of queue) {
    const real = packages.has(name) ? name : (providers.get(name) ?? '');
    const found = packages.get(real);
    if (found === undefined || taken.has(real)) continue;
    taken.add(real);
    // Of alternatives, all that are installed.
    queue.push(...found.depends);
  }
  return [...taken];
}

/** Fills a folder with the files of Debian packages. What was configured on this machine does not get in. */
async function makeRoot(folder: string, wanted: readonly string[]): Promise<void> {
  const packages = await packagesWith(wanted);
  const files = (await succeeded('dpkg', ['--listfiles', ...packages]))
    .split('\n')
    .filter((path) => path.startsWith('/') && path !== '/.' && !UNWANTED.test(path) && existsSync(path));
  mkdirSync(folder, { recursive: true });
  // Debian's /bin, /lib and so on are links into /usr.
  for (const name of ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']) {
    if (!existsSync(`/${name}`)) continue;
    symlinkSync(readlinkSync(`/${name}`), join(folder, name));
    mkdirSync(join(folder, 'usr', name), { recursive: true });
  }
  const list = `${folder}.list`;
  writeFileSync(list, [...new Set(files)].map((path) => `.${path}`).join('\n'));
  await copyTree('/', folder, '--no-recursion', '--files-from', list);
  rmSync(list);

  // What the scripts of the packages make.
  for (const name of ['proc', 'sys', 'dev', 'tmp', 'run', 'root', 'home', 'etc', 'var/lib/dpkg'])
    mkdirSync(join(folder, name), { recursive: true });
  await succeeded('chmod', ['1777', join(folder, 'tmp')]);
  for (const name of ['passwd', 'group'])
    copyFileSync(`/usr/share/base-passwd/${name}.master`, join(folder, 'etc', name));
  // Its folder is not on everybody's path.
  await succeeded('/sbin/ldconfig', ['-r', folder]);
}

/** Copies files with their owners and modes, through links to folders in the target. */
const copyTree = (from: string, to: string, ...files: readonly string[]): Promise<string> =>
  succeeded('bash', [
    '-o',
    'pipefail',
    '-c',
    'from=$1 to=$2; shift 2; tar -C "$from" -cf - "$@" | tar -C "$to" --keep-directory-symlink -xpf -',
    '-',
    from,
    to,
    ...files,
  ]);

/** What makes the root folder of each image. */
const ROOTS = {
  /** The Node.js that runs the tests, and the npm of this machine. */
  async node(root: string): Promise<void> {
    await makeRoot(root, ['ca-certificates', 'libstdc++6', 'libatomic1']);
    const npm = spawnSync('bash', ['-c', 'readlink -f "$(command -v npm)"'], { encoding: 'utf8' });
    const modules = join(root, 'usr/local/lib/node_modules');
    for (const folder of [modules, join(root, 'usr/local/bin')]) mkdirSync(folder, { recursive: true });
    await succeeded('cp', ['-a', dirname(dirname(npm.stdout.trim())), join(modules, 'npm')]);
    copyFileSync(process.execPath, join(root, 'usr/local/bin/node'));
    symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
  },
  python: (root: string): Promise<void> => makeRoot(root, ['ca-certificates', 'python3', 'python3-venv']),
  async nginx(root: string): Promise<void> {
    await makeRoot(root, ['libpcre2-8-0', 'libssl3', 'zlib1g', 'libcrypt1']);
    await copyTree(unpackedFolder('nginx'), root, '.');
  },
} as const;

export type BaseName = keyof typeof ROOTS;

/** The name of a base image. */
export const baseImage = (name: BaseName): string => `localhost/${name}:local`;

/** Makes a base image. */
export async function makeBase(podman: Podman, name: BaseName): Promise<void> {
  const root = join(podman.folder, `root-${name}`);
  const archive = `${root}.tar`;
  await ROOTS[name](root);
  await succeeded('tar', ['-C', root, '-cf', archive, '.']);
  const path = 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  await podman.output('import', '--quiet', '--change', path, archive, baseImage(name));
  rmSync(root, { recursive: true });
  rmSync(archive);
}
