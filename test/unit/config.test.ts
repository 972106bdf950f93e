import { afterEach, describe, expect, it } from 'vitest';
import { createStorage, readConfig, type StorageOptions } from '../../src/index.ts';

const globals = globalThis as unknown as Record<string, unknown>;

afterEach(() => {
  for (const name of ['USE_FLASK_BACKEND', 'FLASK_BACKEND_URL', 'VITE_USE_FLASK_BACKEND'])
    delete globals[name];
});

describe('readConfig', () => {
  it('reads both spellings, and true as a boolean or a text', () => {
    const url = 'http://localhost:5001';
    expect(readConfig({ VITE_USE_FLASK_BACKEND: 'true', VITE_FLASK_BACKEND_URL: url })).toEqual({
      useFlask: true,
      flaskUrl: url,
    });
    expect(readConfig({ USE_FLASK_BACKEND: true, FLASK_BACKEND_URL: url })).toEqual({
      useFlask: true,
      flaskUrl: url,
    });
    expect(readConfig({ USE_FLASK_BACKEND: 'false', FLASK_BACKEND_URL: '' })).toEqual({ useFlask: false });
    for (const text of ['1', 'TRUE', 'yes'])
      expect(readConfig({ USE_FLASK_BACKEND: text })).toEqual({ useFlask: false });
    expect(readConfig()).toEqual({ useFlask: false });
  });

  it('lets the page’s globals win over what was baked in at build time', () => {
    globals.VITE_USE_FLASK_BACKEND = { id: 'VITE_USE_FLASK_BACKEND', toString: () => 'true' };
    expect(readConfig()).toEqual({ useFlask: false });
    globals.USE_FLASK_BACKEND = 'false';
    globals.FLASK_BACKEND_URL = 'http://runtime:1';
    const baked = { VITE_USE_FLASK_BACKEND: 'true', FLASK_BACKEND_URL: 'http://baked:1' };
    expect(readConfig(baked)).toEqual({ useFlask: false, flaskUrl: 'http://runtime:1' });
  });
});

describe('createStorage', () => {
  it('reads the page’s globals when it gets no options', () => {
    globals.USE_FLASK_BACKEND = true;
    expect(() => createStorage()).toThrow(expect.objectContaining({ code: 'invalid-option' }));
    globals.FLASK_BACKEND_URL = 'http://localhost:5001';
    expect(createStorage().getBackendType()).toBe('indexeddb');
  });

  const refused: ReadonlyArray<readonly [string, unknown]> = [
    ['useFlask without a URL', { useFlask: true }],
    ['a URL that is none', { useFlask: true, flaskUrl: 'localhost:5001/x' }],
    ['a URL that is no web address', { useFlask: true, flaskUrl: 'ftp://localhost/' }],
    ['a URL with a password', { flaskUrl: 'http://a:b@localhost/' }],
    ['a URL with an empty query', { flaskUrl: 'http://localhost/?' }],
    ['a URL with a query', { flaskUrl: 'http://localhost/?a=1' }],
    ['an option that does not exist', { useflask: true }],
    ['useFlask as a text', { useFlask: 'true' }],
    ['an empty database name', { database: '' }],
    ['a timeout of nothing', { timeout: 0 }],
    ['a timeout that is no number', { timeout: Number.NaN }],
    ['a logger without methods', { logger: {} }],
    ['a conflict policy that does not exist', { conflict: 'keep-both' }],
    ['a conflict policy with more around it', { conflict: 'keep-server ' }],
    ['a conflict policy that is no function', { conflict: {} }],
    ['a conflict policy in a list', { conflict: ['keep-local'] }],
    ['no conflict policy', { conflict: null }],
    ['an acknowledgement by nobody', { ack: 'none' }],
    ['an acknowledgement that is no name', { ack: true }],
    ['an acknowledgement in a list', { ack: ['server'] }],
    ['options that are no object', null],
  ];
  for (const [name, options] of refused) {
    it(`throws invalid-option for ${name}`, () => {
      expect(() => createStorage(options as StorageOptions)).toThrow(
        expect.objectContaining({ name: 'StorageError', code: 'invalid-option' }),
      );
    });
  }

  it('names every option when it refuses one that does not exist', () => {
    expect(() => createStorage({ useflask: true } as StorageOptions)).toThrow(
      'useflask must be left out: the options are useFlask, flaskUrl, token, database, timeout, logger, conflict and ack',
    );
  });

  it('takes the conflict policies and acknowledgements that there are', () => {
    for (const conflict of ['keep-server', 'keep-local', () => undefined, undefined] as const)
      expect(createStorage({ conflict }).getBackendType()).toBe('indexeddb');
    for (const ack of ['server', 'local', undefined] as const)
      expect(createStorage({ ack }).getBackendType()).toBe('indexeddb');
  });

  it('has nothing to send and no conflicts where no server is configured', async () => {
    const storage = createStorage({ logger: false, database: 'no-server' });
    expect(storage.status()).toEqual({
      backend: 'indexeddb',
      state: 'local',
      level: undefined,
      pending: 0,
      conflicts: 0,
      lastSyncAtMs: undefined,
      reason: 'no server is configured (useFlask)',
    });
    await storage.set('a', 1);
    await storage.flush();
    expect(await storage.conflicts()).toEqual([]);
    await expect(storage.resolve('a', 'local')).rejects.toMatchObject({ code: 'invalid-option' });
    expect(() => storage.watchStatus('no function' as never)).toThrow(
      expect.objectContaining({ code: 'invalid-option' }),
    );
    await storage.close();
    for (const call of [storage.flush(), storage.conflicts(), storage.resolve('a', 'local')])
      await expect(call).rejects.toMatchObject({ code: 'closed' });
  });

  it('logs the selection once, at the first call', async () => {
    const lines: string[] = [];
    const logger = {
      info: (line: string) => void lines.push(line),
      warn: (line: string) => void lines.push(line),
    };
    const storage = createStorage({ logger, database: 'logged' });
    expect(lines).toEqual([]);
    await Promise.all([storage.get('a'), storage.get('b')]);
    await storage.get('c');
    expect(lines).toEqual(['@codeforge/storage uses IndexedDB (database logged)']);
    await storage.close();
  });

  it('lets no failing log decide where data goes', async () => {
    const fail = () => {
      throw new Error('The log is full.');
    };
    const storage = createStorage({ logger: { info: fail, warn: fail }, database: 'failing-log' });
    await storage.set('a', 1);
    expect(await storage.get('a')).toBe(1);
    await storage.close();
  });

  it('closes at the end of a block', async () => {
    let kept: { get(key: string): Promise<unknown> };
    {
      await using storage = createStorage({ logger: false, database: 'using' });
      kept = storage;
      await storage.set('a', 1);
    }
    await expect(kept.get('a')).rejects.toMatchObject({ code: 'closed' });
  });
});
