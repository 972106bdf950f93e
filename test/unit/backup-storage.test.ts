/** Backups of a storage on fake-indexeddb; in a real browser: test/browser/backup.test.ts. */
import { afterEach } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import { backups } from '../contract/backups.ts';
import { imports } from '../contract/imports.ts';

const opened: KeyValueStorage[] = [];
let databases = 0;

afterEach(async () => {
  await Promise.all(opened.splice(0).map((storage) => storage.close()));
});

function open(): KeyValueStorage {
  databases += 1;
  const storage = createStorage({ database: `backup-${databases}`, logger: false });
  opened.push(storage);
  return storage;
}

backups(open);
imports(open);
