/** The reverse proxies of docs/deployment.md, of Debian's packages. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

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

/** The proxies that are not unpacked. */
export const missingProxies = (): ProxyName[] =>
  (Object.keys(PROXIES) as ProxyName[]).filter((name) => !existsSync(proxyProgram(name)));

/** Why a proxy cannot run here, for a skip that names its reason; `undefined` if it can. */
export const proxySkipReason = (name: ProxyName): string | undefined =>
  existsSync(proxyProgram(name))
    ? undefined
    : `${name} was not found (${proxyProgram(name)}); npm test unpacks Debian's packages`;
