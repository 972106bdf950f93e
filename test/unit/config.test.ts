import { afterEach, describe, expect, it } from 'vitest';
import { createStorage, readConfig, type StorageOptions } from '../../src/index.ts';

const globals = globalThis as unknown as Record<string, unknown>;

afterEach(() => {
  for (const name of ['USE_FLASK_BACKEND', 'FLASK_BACKEND_URL', 'VITE_USE_FLASK_BACKEND', 'location'])
    delete globals[name];
});

describe('readConfig', () => {
  const url = 'http://localhost:5001';
  const NO_URL = expect.stringContaining('FLASK_BACKEND_URL is not');

  it('takes the usual spellings of true and false, with and without the prefix of Vite', () => {
    for (const use of [true, 1, 'true', 'TRUE', 'true ', ' True', '1', 'yes', 'on'])
      for (const prefix of ['', 'VITE_'])
        expect(
          readConfig({ [`${prefix}USE_FLASK_BACKEND`]: use, [`${prefix}FLASK_BACKEND_URL`]: url }),
        ).toEqual({
          useFlask: true,
          flaskUrl: url,
        });
    for (const use of [false, 0, 'false', 'FALSE', 'False ', '0', 'no', 'off', '', ' ', undefined])
      expect(readConfig({ USE_FLASK_BACKEND: use, FLASK_BACKEND_URL: '' })).toEqual({ useFlask: false });
    expect(readConfig()).toEqual({ useFlask: false });
  });

  it('refuses every other spelling, and names the variable', () => {
    for (const use of ['maybe', 'ture', '2', 'null'])
      expect(() => readConfig({ VITE_USE_FLASK_BACKEND: use })).toThrow(
        expect.objectContaining({
          code: 'invalid-option',
          message: `USE_FLASK_BACKEND must be true or false, not "${use}".`,
        }),
      );
  });

  it('reads FLASK_API_URL, which older deployments set, where there is no FLASK_BACKEND_URL', () => {
    const use = { VITE_USE_FLASK_BACKEND: 'true' };
    expect(readConfig({ ...use, VITE_FLASK_API_URL: 'http://old:1' })).toEqual({
      useFlask: true,
      flaskUrl: 'http://old:1',
    });
    expect(readConfig({ ...use, VITE_FLASK_API_URL: 'http://old:1', VITE_FLASK_BACKEND_URL: url })).toEqual({
      useFlask: true,
      flaskUrl: url,
    });
  });

  it('falls back to IndexedDB with a warning where the environment wants a server and names none', async () => {
    expect(readConfig({ USE_FLASK_BACKEND: '1' })).toEqual({ useFlask: false, warning: NO_URL });
    const lines: string[] = [];
    const logger = {
      info: (line: string) => void lines.push(`info: ${line}`),
      warn: (line: string) => void lines.push(`warn: ${line}`),
    };
    const storage = createStorage({ ...readConfig({ USE_FLASK_BACKEND: '1' }), logger, database: 'no-url' });
    expect(storage.status()).toMatchObject({ state: 'local', reason: NO_URL });
    await storage.set('a', 1);
    expect(await storage.get('a')).toBe(1);
    expect(lines).toEqual([
      expect.stringMatching(/^warn: .*uses IndexedDB, because .*FLASK_BACKEND_URL is not/),
    ]);
    expect(storage.status()).toMatchObject({ state: 'local', reason: NO_URL });
    await storage.close();
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

describe('flaskUrl', () => {
  const at = (flaskUrl: string): string => createStorage({ useFlask: true, flaskUrl }).status().reason;

  it('may be relative to the page, as fetch() takes it', () => {
    globals.location = new URL('https://app.example/a/b.html?c#d');
    expect(at('/storage')).toBe('https://app.example/storage/ was not asked yet');
    expect(at('/')).toBe('https://app.example/ was not asked yet');
    expect(at('./storage')).toBe('https://app.example/a/storage/ was not asked yet');
    expect(at('../storage/')).toBe('https://app.example/storage/ was not asked yet');
    expect(at('//other.example')).toBe('https://other.example/ was not asked yet');
    expect(() => at('/storage?a')).toThrow('without a query');
  });

  it('says that a relative address needs a page', () => {
    expect(() => at('/storage')).toThrow('there is no page that it could be relative to');
  });

  it('says what is meant where the scheme is missing', () => {
    expect(() => at('localhost:5001')).toThrow('did you mean http://localhost:5001?');
    expect(() => at('storage.example/path')).toThrow('did you mean http://storage.example/path?');
    expect(() => at('localhost')).toThrow('did you mean http://localhost?');
  });
});

describe('createStorage', () => {
  it('reads the page’s globals when it gets no options', () => {
    globals.USE_FLASK_BACKEND = true;
    globals.FLASK_BACKEND_URL = 'http://localhost:5001';
    expect(createStorage().getBackendType()).toBe('indexeddb');
    expect(createStorage().status().reason).toBe('http://localhost:5001/ was not asked yet');
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
    ['a durability that is none', { durability: 'default' }],
    ['a durability that is no name', { durability: true }],
    ['options that are no object', null],
    ['options in a list', []],
    ['an event in the place of options', new Event('click')],
    ['a text in the place of options', 'codeforge-db'],
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
      'createStorage() has no option useflask. The options of createStorage() are useFlask, flaskUrl, token, database, timeout, logger, conflict, ack, durability, warning.',
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
