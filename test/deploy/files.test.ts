/** The files of examples/deploy are valid, agree with each other and with the servers, and a broken twin of each is refused. */
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { validate } from 'dockerfile-utils';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { SETTINGS } from '../../examples/server/src/config.ts';
import { manifestProblems } from './manifests.ts';

const root = resolve(import.meta.dirname, '../..');
const folder = resolve(root, 'examples/deploy');
const read = (name: string): Promise<string> => readFile(resolve(folder, name), 'utf8');

/** The text with `from`, which it must have, replaced. */
function broken(text: string, from: string, to: string): string {
  expect(text).toContain(from);
  return text.replace(from, to);
}

describe('the Dockerfiles', async () => {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.Dockerfile'));
  const problems = (text: string): string[] => validate(text).map(({ message }) => String(message));

  it.each(names)('%s is valid', async (name) => {
    expect(problems(await read(name))).toEqual([]);
  });

  it('a typing error is refused', async () => {
    const text = await read('server.Dockerfile');
    expect(problems(broken(text, 'HEALTHCHECK', 'HEALTHCHEK'))).not.toEqual([]);
    expect(problems(broken(text, '--start-period', '--start-time'))).not.toEqual([]);
  });

  it.each(names)('%s copies only what .dockerignore lets through', async (name) => {
    const allowed = (await readFile(resolve(root, '.dockerignore'), 'utf8'))
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = (await read(name))
      .split('\n')
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
      .flatMap((line) => line.split(' ').slice(1, -1))
      .filter((path) => !path.startsWith('--'));
    expect(copied.length).toBeGreaterThan(0);
    for (const path of copied)
      expect(allowed.some((prefix) => path === prefix || `${path}/`.startsWith(prefix))).toBe(true);
  });
});

it('the image of the server has the packages that the tests run with', async () => {
  interface Lock {
    readonly packages: Readonly<Record<string, { readonly version?: string; readonly integrity?: string }>>;
  }
  const lock = async (path: string): Promise<string[]> => {
    const { packages }: Lock = JSON.parse(await readFile(resolve(root, path), 'utf8'));
    return Object.entries(packages)
      .filter(([path]) => path.includes('node_modules/'))
      .map(
        ([path, { version, integrity }]) => `${path.split('node_modules/').at(-1)} ${version} ${integrity}`,
      );
  };
  const tested = await lock('package-lock.json');
  const own = await lock('examples/server/package-lock.json');
  expect(own.filter((line) => !tested.includes(line))).toEqual([]);
  const { dependencies, optionalDependencies } = JSON.parse(
    await readFile(resolve(root, 'examples/server/package.json'), 'utf8'),
  );
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies }))
    expect(own.some((line) => line.startsWith(`${name} `))).toBe(true);
});

describe('compose.yaml', async () => {
  const schema = JSON.parse(
    readFileSync(resolve(root, 'node_modules/dclint/schemas/compose.schema.json'), 'utf8'),
  );
  delete schema.$schema;
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  for (const format of ['ports', 'expose', 'subnet_ip_address']) ajv.addFormat(format, true);
  const matches = ajv.compile(schema);

  interface Service {
    readonly image: string;
    readonly build?: { readonly context: string; readonly dockerfile: string };
    readonly profiles?: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    readonly volumes?: readonly string[];
    readonly depends_on?: Readonly<Record<string, unknown>>;
  }
  interface Compose {
    readonly services: Readonly<Record<string, Service>>;
    readonly volumes: Readonly<Record<string, unknown>>;
  }
  const parsed = (text: string): Compose => parse(text, { merge: true });

  function problems(text: string): string[] {
    const compose = parsed(text);
    if (!matches(compose))
      return (matches.errors ?? []).map(
        ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
      );
    return Object.entries(compose.services).flatMap(([name, { volumes = [], depends_on = {} }]) => [
      ...volumes
        .map((volume) => volume.split(':')[0] as string)
        .filter((volume) => !(volume in compose.volumes))
        .map((volume) => `${name}: there is no volume ${volume}`),
      ...Object.keys(depends_on)
        .filter((other) => !(other in compose.services))
        .map((other) => `${name}: there is no service ${other}`),
    ]);
  }
  const text = await read('compose.yaml');

  it('is valid', () => {
    expect(problems(text)).toEqual([]);
  });

  it.each([
    ['retries: 20', 'retriez: 20'],
    ['condition: service_healthy, restart', 'condition: service_wonderful, restart'],
    ["volumes: ['data:/data']", "volumes: ['date:/data']"],
    ['      postgres: { condition', '      postgress: { condition'],
  ])('%s → %s is refused', (from, to) => {
    expect(problems(broken(text, from, to))).not.toEqual([]);
  });

  it('starts the web app and the server, and the others with their profiles', () => {
    const profiles = Object.entries(parsed(text).services).map(([name, { profiles = [] }]) => [
      name,
      ...profiles,
    ]);
    expect(profiles).toEqual([
      ['codeforge'],
      ['codeforge-backend'],
      ['codeforge-backend-flask', 'flask'],
      ['postgres', 'postgres'],
      ['mariadb', 'mariadb'],
    ]);
  });

  it('builds each image from a Dockerfile of this folder', async () => {
    const files = await readdir(folder);
    for (const { image, build } of Object.values(parsed(text).services)) {
      if (build === undefined) continue;
      expect(image).toMatch(/^codeforge/);
      expect(resolve(folder, build.context)).toBe(root);
      expect(files).toContain(build.dockerfile.replace('examples/deploy/', ''));
    }
  });

  it('sets only variables that the server has', () => {
    const names = SETTINGS.map(([name]) => name);
    const server = parsed(text).services['codeforge-backend'];
    expect(Object.keys(server?.environment ?? {}).filter((name) => !names.includes(name))).toEqual([]);
  });
});

describe('kubernetes.yaml', async () => {
  const text = await read('kubernetes.yaml');

  it('is valid', () => {
    expect(manifestProblems(text)).toEqual([]);
  });

  it.each([
    ['runAsNonRoot', 'runAsNotRoot'],
    ['replicas: 2', "replicas: 'two'"],
    ['kind: PersistentVolumeClaim', 'kind: PersistentVolumeClam'],
    ['apiVersion: apps/v1', 'apiVersion: v1'],
    ['claimName: codeforge-data', 'claimName: codeforge-date'],
    ['selector: { app: codeforge-backend }', 'selector: { app: codeforge-back }'],
    ['{ path: /ready, port: http }', '{ path: /ready, port: htp }'],
    ['targetPort: http', 'targetPort: htp'],
    ['key: PROXY_BACKEND }', 'key: PROXY }'],
    ['name: tmp, mountPath', 'name: temp, mountPath'],
    ['containers:\n', 'containers: # none\n  - \n'],
  ])('%s → %s is refused', (from, to) => {
    expect(manifestProblems(broken(text, from, to))).not.toEqual([]);
  });
});
