/**
 * A small app over `@codeforge/storage`: shows the backend in use and how its server stands, lists, adds, edits and deletes
 * entries, settles conflicts, migrates both ways, makes backups and restores them. It works on while the server is away.
 */
import {
  createStorage,
  type KeyValueStorage,
  type StorageOptions,
  type StorageStatus,
} from '@codeforge/storage';
import { forgetAdoption, showOldDatabases, startAdoption } from './adoption.ts';
import { startBackup } from './backup.ts';
import { showConflicts } from './conflicts.ts';
import { rememberConnection, rememberedConnection } from './connection.ts';
import { showEntries } from './entries.ts';
import { forgetMigration, showDirection, startMigration } from './migration.ts';
import { type App, element, field, giveBackFocus, messageOf } from './page.ts';
import { Cancelled } from './progress.ts';
import { forgetRestore, startRestore } from './restore.ts';
import { sample } from './sample.ts';
import { showStatus, waiting } from './status.ts';

const connection = element<HTMLFormElement>('connection');
const editor = element<HTMLFormElement>('editor');
const migration = element<HTMLFormElement>('migration');
const prefix = element<HTMLInputElement>('prefix');
const configured = rememberedConnection();

let storage = createStorage(configured);
/** The server that `storage` was created for. */
let server = configured.flaskUrl ?? '';
let shown = storage.status();
let unwatch = watch(storage);
let busy = false;

/** Run what a button does, show how it ended, and then what is stored now. */
async function act(name: string, action: () => Promise<string>): Promise<void> {
  const had = document.activeElement;
  const message = element('message');
  busy = true;
  enableButtons();
  for (const forget of [forgetAdoption, forgetMigration, forgetRestore]) forget();
  message.className = '';
  message.textContent = `${name} …`;
  try {
    const started = performance.now();
    const text = await action();
    const took = Math.round(performance.now() - started);
    // Whoever reads the message finds the page as it says.
    await show();
    message.textContent = `${text} (${took} ms)`;
  } catch (error) {
    // What was done until then is done.
    await show();
    const isCancelled = error instanceof Cancelled;
    message.className = isCancelled ? '' : 'failed';
    message.textContent = isCancelled
      ? `${name}: ${messageOf(error)}`
      : `${name} failed: ${messageOf(error)}`;
  } finally {
    busy = false;
    enableButtons();
    giveBackFocus(had);
  }
}

/** Only what makes sense now can be pressed. */
function enableButtons(): void {
  const { pending } = storage.status();
  const all = 'button:not(#cancel), input[type="file"]';
  for (const control of document.querySelectorAll<HTMLButtonElement | HTMLInputElement>(all))
    control.disabled = busy;
  if (!busy) element<HTMLButtonElement>('flush').disabled = pending === 0;
}

/** Show what is stored now. Never rejects: what cannot be shown is said in its place. */
async function show(): Promise<void> {
  shown = storage.status();
  showWhere();
  await Promise.all([showEntries(storage, prefix.value, { edit, remove }), showConflicts(storage, settle)]);
}

/** Show who serves now, and what follows from that. */
function showWhere(): void {
  showStatus(shown, server);
  showDirection(shown, server);
}

/** What the page does when the status is another one. */
function follow(status: StorageStatus): void {
  const before = shown;
  shown = status;
  showWhere();
  enableButtons();
  const sent = before.pending > 0 && status.pending === 0;
  const other = before.backend !== status.backend || before.conflicts !== status.conflicts;
  // The server may have other entries than were known here.
  if (sent || other) void show();
}

/** Follow a storage: how its server stands, and what this page, other tabs and other devices store. */
function watch(storage: KeyValueStorage): () => void {
  const ends = [storage.watchStatus(follow), storage.watch(undefined, showSoon)];
  return () => {
    for (const end of ends) end();
  };
}

let isShowing = false;
/** Show changes, those that come together once. While a button is at work they wait. */
function showSoon(): void {
  if (isShowing) return;
  isShowing = true;
  setTimeout(() => {
    isShowing = false;
    if (busy) showSoon();
    else void show();
  }, 100);
}

function edit(key: string, text: string): void {
  field(editor, 'key').value = key;
  field(editor, 'value').value = text;
  field(editor, 'value').focus();
}

const remove = (key: string): Promise<void> =>
  act('Deleting', async () => {
    await storage.delete(key);
    return `Deleted ${key}`;
  });

const settle = (key: string, choice: 'local' | 'server'): Promise<void> =>
  act('Settling', async () => {
    await storage.resolve(key, choice);
    return choice === 'local' ? `Kept your value of ${key}` : `Kept the server's value of ${key}`;
  });

async function connect(options: StorageOptions): Promise<string> {
  const next = createStorage(options);
  try {
    await next.ready();
  } catch (error) {
    await next.close();
    throw error;
  }
  const before = storage;
  unwatch();
  storage = next;
  server = options.flaskUrl ?? '';
  field(migration, 'url').value = server || field(migration, 'url').value;
  unwatch = watch(next);
  await before.close();
  rememberConnection(options.useFlask ? options.flaskUrl : undefined);
  const status = next.status();
  if (status.state === 'online' || status.state === 'local') return 'Connected';
  return `Working offline (${waiting(status).toLowerCase()}). ${status.reason}`;
}

connection.addEventListener('submit', (event) => {
  event.preventDefault();
  void act('Connecting', () =>
    connect({
      useFlask: field(connection, 'backend').value === 'flask',
      flaskUrl: field(connection, 'url').value || undefined,
      token: field(connection, 'token').value || undefined,
    }),
  );
});

editor.addEventListener('submit', (event) => {
  event.preventDefault();
  void act('Saving', async () => {
    const typed = (): string[] => ['key', 'value'].map((name) => field(editor, name).value);
    const [key = '', value = ''] = typed();
    await storage.set(key, JSON.parse(value));
    // What was typed meanwhile is the next entry.
    const [keyNow, valueNow] = typed();
    if (keyNow === key && valueNow === value) editor.reset();
    return `Saved ${key}`;
  });
});

const onClick = (id: string, name: string, action: () => Promise<string>): void =>
  element(id).addEventListener('click', () => void act(name, action));

onClick('flush', 'Sending', async () => {
  await storage.flush();
  return 'Sent all changes';
});
onClick('sample', 'Adding', async () => {
  await storage.setMany(Array.from({ length: 10_000 }, (_, i) => sample(i)));
  return 'Added 10,000 entries';
});
onClick('clear', 'Deleting', async () => {
  const where = storage.status().state === 'local' ? 'IndexedDB' : server;
  if (!confirm(`Delete everything that ${where} holds?`)) return 'Cancelled: nothing was deleted';
  await storage.clear();
  return 'Deleted everything';
});
const app: App = {
  get storage() {
    return storage;
  },
  act,
  switched(url) {
    server = url ?? server;
    rememberConnection(url);
    field(connection, 'backend').value = url === undefined ? 'indexeddb' : 'flask';
    field(connection, 'url').value = server;
  },
};
startMigration(app);
startBackup(app);
startRestore(app);
startAdoption(app);
prefix.addEventListener('input', () => void show());

field(connection, 'backend').value = configured.useFlask ? 'flask' : 'indexeddb';
for (const form of [connection, migration]) field(form, 'url').value = configured.flaskUrl ?? '';
void act('Loading', async () => {
  await storage.ready();
  await showOldDatabases(app);
  return 'Ready';
});
