/**
 * The images of examples/deploy, built from their own Dockerfiles. npm and pip reach their registries in the way that this machine
 * is configured: the configuration is there while an image is built, and does not become part of it.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { baseImage } from './base-images.ts';
import { ended, type Podman, succeeded } from './podman.ts';

const root = resolve(import.meta.dirname, '../../..');
const deploy = join(root, 'examples/deploy');

/** The images, by the names that the guide gives them, with the base images that they need. */
const SOURCES = {
  'codeforge-backend': { file: 'server.Dockerfile', bases: ['node'] },
  'codeforge-backend-flask': { file: 'flask.Dockerfile', bases: ['python'] },
  'codeforge-standalone': { file: 'web.Dockerfile', target: 'standalone', bases: ['node', 'nginx'] },
} as const;

export type ImageName = keyof typeof SOURCES | 'codeforge';

/** Which files of this machine the steps of a build see, by their path in the container. */
async function mounts(podman: Podman): Promise<string[]> {
  const found = new Map<string, string>();
  const mount = (from: string, to = from, mode: 'ro' | 'rw' = 'ro'): void => {
    if (existsSync(from)) found.set(to, `${from}:${to}:${mode}`);
  };
  mount('/etc/ssl/certs');
  const npm = async (name: string): Promise<string> =>
    (await succeeded('npm', ['config', 'get', name])).trim();
  mount(await npm('userconfig'), '/root/.npmrc');
  mount(await npm('globalconfig'), '/usr/local/etc/npmrc');
  mount(await npm('cache'), '/root/.npm', 'rw');
  const authorities = process.env.NODE_EXTRA_CA_CERTS;
  if (authorities) {
    const file = join(podman.folder, 'npmrc');
    writeFileSync(file, `cafile=${authorities}\n`);
    mount(authorities);
    mount(file, '/usr/local/etc/npmrc');
  }

  const settings = new Map<string, string>();
  const { stdout } = await ended('python3', ['-m', 'pip', 'config', 'list']);
  for (const [, name = '', value = ''] of stdout.matchAll(/^[\w:]+\.([\w-]+)='(.*)'$/gm)) {
    const words = value.split(/[\s,]+|\\n/);
    // An index links to files beside it.
    for (const path of words.map((word) => word.replace(/^file:\/\//, '')))
      if (path.startsWith('/')) mount(name.endsWith('index-url') ? dirname(path) : path);
    settings.set(name, words.join('\n  '));
  }
  // A registry that does not answer must not hold up the others.
  settings.set('timeout', '15').set('retries', '1').delete('default-timeout');
  const file = join(podman.folder, 'pip.conf');
  const lines = [...settings].map(([name, value]) => `${name} = ${value}\n`);
  writeFileSync(file, `[global]\n${lines.join('')}`);
  mount(file, '/etc/pip.conf');
  return [...found.values()].flatMap((volume) => ['--volume', volume]);
}

/** Builds all images, side by side. The base images must be there. Resolves with the seconds that each took. */
export async function buildImages(podman: Podman): Promise<ReadonlyMap<ImageName, number>> {
  const volumes = await mounts(podman);
  const seconds = new Map<ImageName, number>();
  const build = async (name: ImageName, file: string, ...options: readonly string[]): Promise<void> => {
    const started = performance.now();
    // Images in the format of the OCI have no health check. Steps without a layer each take less time.
    const common = ['--isolation=chroot', '--format=docker', '--pull=never', '--layers=false', '--quiet'];
    const all = [...common, ...volumes, ...options, '--tag', name, '--file', file, root];
    await podman.output('build', ...all);
    seconds.set(name, (performance.now() - started) / 1000);
  };
  const names = Object.keys(SOURCES) as Array<keyof typeof SOURCES>;
  await Promise.all(
    names.map((name) => {
      const source = SOURCES[name];
      const options = source.bases.map(
        (base) => `--build-arg=${base.toUpperCase()}_IMAGE=${baseImage(base)}`,
      );
      if ('target' in source) options.push(`--target=${source.target}`);
      return build(name, join(deploy, source.file), ...options);
    }),
  );
  // The last stage of the same Dockerfile by itself: its other stages are built.
  const text = readFileSync(join(deploy, SOURCES['codeforge-standalone'].file), 'utf8');
  const file = join(podman.folder, 'codeforge.Dockerfile');
  writeFileSync(
    file,
    text.slice(text.lastIndexOf('FROM standalone')).replace('standalone', 'codeforge-standalone'),
  );
  await build('codeforge', file);
  return seconds;
}
