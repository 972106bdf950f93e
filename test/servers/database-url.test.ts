/** Database URLs: what each names, and that a wrong one is refused without showing its password. */
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseDatabaseUrl } from '../../examples/server/src/database-url.ts';
import { describeDatabase } from '../../examples/server/src/open-store.ts';

describe('a database URL', () => {
  it.each([
    ['sqlite:data.db', resolve('data.db')],
    ['sqlite:/var/data.db', '/var/data.db'],
    ['sqlite:///var/a%20b.db', '/var/a b.db'],
  ])('%s names a file', (url, path) => {
    expect(parseDatabaseUrl(url)).toEqual({ kind: 'sqlite', path });
  });

  it('names a server, with the usual port unless it says another', () => {
    expect(parseDatabaseUrl('postgres://us%40er:p%3Aw@db.example/data')).toEqual({
      kind: 'postgres',
      hosts: [{ host: 'db.example', port: 5432 }],
      user: 'us@er',
      password: 'p:w',
      database: 'data',
      encryption: 'off',
    });
    expect(parseDatabaseUrl('mysql://root@127.0.0.1/data?sslmode=verify-full')).toMatchObject({
      kind: 'mysql',
      hosts: [{ host: '127.0.0.1', port: 3306 }],
      password: '',
      encryption: 'verified',
    });
  });

  it('names several servers that replicate one database', () => {
    const url = 'postgresql://u:p@a:5433,[::1]:5434,c/data?target_session_attrs=read-write&sslmode=require';
    const database = parseDatabaseUrl(url);
    expect(database).toMatchObject({
      kind: 'postgres',
      hosts: [
        { host: 'a', port: 5433 },
        { host: '::1', port: 5434 },
        { host: 'c', port: 5432 },
      ],
      encryption: 'unverified',
    });
    expect(describeDatabase(database)).toBe('postgres://u@a:5433,[::1]:5434,c:5432/data');
  });

  it.each([
    'data.db',
    'oracle://user:secret@host/database',
    'sqlite:',
    'sqlite://host/data.db',
    'postgres:data',
    'postgres://host/database',
    'postgres://user:secret@host',
    'postgres://user:secret@host:port/database',
    'postgres://user:secret@host:65536/database',
    'postgres://user:secret@a,,b/database',
    'postgres://user:secret%zz@host/database',
    'postgres://user:secret@host/database?target_session_attrs=any',
    'mysql://user:secret@host/database?sslmode=prefer',
    'mysql://user:secret@host/database?charset=latin1',
  ])('%s is refused', (url) => {
    let message = '';
    try {
      parseDatabaseUrl(url);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).not.toBe('');
    expect(message).not.toContain('secret');
  });
});
