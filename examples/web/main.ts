/**
 * A small app over `@codeforge/storage`: shows the backend in use and how its server stands, lists, adds, edits and deletes
 * entries, settles conflicts, and migrates both ways. It works on while the server is away.
 */
import { createStorage, readConfig, type StorageOptions, type StorageStatus } from '@codeforge/storage';
import { showConflicts } from './conflicts.ts';
import { showEntries } from './entries.ts';
import { element, field, giveBackFocus, messageOf } from './page.ts';
import { sample } from './sample.ts';
import { showStatus, waiting } from './status.ts';

const connection = element<HTMLFormElement>('connection');
const editor = element<HTMLFormElement>('editor');
const prefix = element<HTMLInputElement>('prefix');
const configured = readConfig(import.meta.env);

let storage = createStorage(configured);
/** The server that `storage` was created for. */
let server = configured.flaskUrl ?? '';
let shown = storage.status();
let unwatch = storage.watchStatus(follow);
let busy = false;

/** Run what a button does, show how it ended, and then what is stored now. */
async function act(name: string, action: () => Promise<string>): Promise<void> {
  const had = document.activeElement;
  const message = element('message');
  busy = true;
  enableButtons();
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
    message.className = 'failed';
    message.textContent = `${name} failed: ${messageOf(error)}`;
  } finally {
    busy = false;
    enableButtons();
    giveBackFocus(had);
  }
}

/** Only what makes sense now can be pressed. */
function enableButtons(): void {
  const { state, pending } = storage.status();
  for (const button of document.querySelectorAll('button')) button.disabled = busy;
  if (busy) return;
  element<HTMLButtonElement>('to-flask').disabled = state !== 'local';
  element<HTMLButtonElement>('to-indexeddb').disabled = state === 'local';
  element<HTMLButtonElement>('flush').disabled = pending === 0;
}

/** Show what is stored now. Never rejects: what cannot be shown is said in its place. */
async function show(): Promise<void> {
  shown = storage.status();
  showStatus(shown, server);
  await Promise.all([showEntries(storage, prefix.value, { edit, remove }), showConflicts(storage, settle)]);
}

/** What the page does when the status is another one. */
function follow(status: StorageStatus): void {
  const before = shown;
  shown = status;
  showStatus(status, server);
  enableButtons();
  const sent = before.pending > 0 && status.pending === 0;
  const other = before.backend !== status.backend || before.conflicts !== status.conflicts;
  // The server may have other entries than were known here.
  if (sent || other) void show();
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
    return choice === 'local'
      ? `Kept what was written here for ${key}`
      : `Kept what the server has of ${key}`;
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
  unwatch = next.watchStatus(follow);
  await before.close();
  const status = next.status();
  if (status.state === 'online' || status.state === 'local') return 'Connected';
  return `Working offline, and ${waiting(status)}. ${status.reason}`;
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
    const key = field(editor, 'key').value;
    await storage.set(key, JSON.parse(field(editor, 'value').value));
    editor.reset();
    return `Saved ${key}`;
  });
});

const onClick = (id: string, name: string, action: () => Promise<string>): void =>
  element(id).addEventListener('click', () => void act(name, action));

onClick('flush', 'Sending', async () => {
  await storage.flush();
  return 'Sent everything that waited';
});
onClick('to-flask', 'Migrating to the server', async () => {
  const count = await storage.migrateToFlask(field(connection, 'url').value);
  return `Migrated ${count.toLocaleString('en')} entries to the server, each verified`;
});
onClick('to-indexeddb', 'Migrating to IndexedDB', async () => {
  const count = await storage.migrateToIndexedDB();
  return `Migrated ${count.toLocaleString('en')} entries to IndexedDB, each verified`;
});
onClick('sample', 'Adding', async () => {
  await storage.setMany(Array.from({ length: 10_000 }, (_, i) => sample(i)));
  return 'Added 10,000 entries';
});
onClick('clear', 'Deleting', async () => {
  const where = storage.status().state === 'local' ? 'IndexedDB' : server;
  if (!confirm(`Delete everything that ${where} holds?`)) return 'Deleted nothing';
  await storage.clear();
  return 'Deleted everything';
});
prefix.addEventListener('input', () => void show());

field(connection, 'backend').value = configured.useFlask ? 'flask' : 'indexeddb';
field(connection, 'url').value = configured.flaskUrl ?? '';
void act('Loading', async () => {
  await storage.ready();
  return 'Ready';
});
