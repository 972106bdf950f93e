/** What the tests of the deployment need of a Debian machine: packages that are installed, and some that are only unpacked. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Debian's packages that build and run containers, and the one that the base image of the Flask server is made of. */
const CONTAINER_PACKAGES: readonly string[] = ['podman', 'crun', 'python3-venv'];

/** The reverse proxies of docs/deployment.md. They are unpacked and not installed: an installation starts them on port 80. */
export const PROXIES = {
  nginx: { packages: ['nginx', 'nginx-common'], program: 'usr/sbin/nginx' },
  caddy: { packages: ['caddy'], program: 'usr/bin/caddy' },
} as const;

export type ProxyName = keyof typeof PROXIES;

const cache = resolve(import.meta.dirname, '../../../node_modules/.cache/debian');

/** The folder that a proxy's packages are unpacked in. */
export const unpackedFolder = (name: ProxyName): string => join(cache, name);

/** A proxy's program. */
export const proxyProgram = (name: ProxyName): string => join(unpackedFolder(name), PROXIES[name].program);

/** The packages of `CONTAINER_PACKAGES` that are not installed. */
export function missingContainerPackages(): string[] {
  const isInstalled = (name: string): boolean =>
    spawnSync('dpkg', ['--status', name], { encoding: 'utf8' }).stdout?.includes('ok installed');
  return CONTAINER_PACKAGES.filter((name) => !isInstalled(name));
}

/** The proxies that are not unpacked. */
export const missingProxies = (): ProxyName[] =>
  (Object.keys(PROXIES) as ProxyName[]).filter((name) => !existsSync(proxyProgram(name)));

/** Why a proxy cannot run here, for a skip that names its reason; `undefined` if it can. */
export const proxySkipReason = (name: ProxyName): string | undefined =>
  existsSync(proxyProgram(name))
    ? undefined
    : `${name} was not found (${proxyProgram(name)}); npm test unpacks Debian's packages`;

/** Why containers cannot run here, for a skip that names its reason; `undefined` if they can. */
export function containersSkipReason(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'only root on Linux may start the containers';
  const missing = missingContainerPackages();
  if (missing.length > 0) return `not installed: ${missing.join(', ')} (packages of Debian)`;
  return proxySkipReason('nginx');
}
