/**
 * A small app over `@codeforge/storage`: shows the backend in use, lists, adds, edits and deletes entries, and migrates
 * both ways.
 */
import { createStorage, type KeyValueStorage, readConfig } from '@codeforge/storage';

/** Rows shown at once: a page of 10,000 rows would be slow, not the storage. */
const SHOWN = 100;

const element = <E extends HTMLElement>(id: string): E => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element #${id}.`);
  return found as E;
};
const field = (form: HTMLFormElement, name: string): HTMLInputElement =>
  form.elements.namedItem(name) as HTMLInputElement;

const connection = element<HTMLFormElement>('connection');
const editor = element<HTMLFormElement>('editor');
const prefix = element<HTMLInputElement>('prefix');
const configured = readConfig(import.meta.env);

let storage: KeyValueStorage = createStorage(configured);

/** Run what a button does, show how it ended, and then what is stored now. */
async function act(name: string, action: () => Promise<string>): Promise<void> {
  const buttons = document.querySelectorAll('button');
  for (const button of buttons) button.disabled = true;
  const message = element('message');
  message.className = '';
  message.textContent = `${name} …`;
  try {
    const started = performance.now();
    const text = await action();
    await show();
    message.textContent = `${text} (${Math.round(performance.now() - started)} ms)`;
  } catch (error) {
    message.className = 'failed';
    message.textContent = `${name} failed: ${error instanceof Error ? error.message : error}`;
  } finally {
    for (const button of buttons) button.disabled = false;
    const flask = storage.getBackendType() === 'flask';
    element<HTMLButtonElement>('to-flask').disabled = flask;
    element<HTMLButtonElement>('to-indexeddb').disabled = !flask;
  }
}

async function show(): Promise<void> {
  const keys = await storage.keys({ prefix: prefix.value });
  const flask = storage.getBackendType() === 'flask';
  element('backend').textContent = flask ? `Flask backend at ${field(connection, 'url').value}` : 'IndexedDB';
  element('counts').textContent = `· ${keys.length.toLocaleString('en')} entries`;
  const shown = keys.slice(0, SHOWN);
  const values = await storage.getMany(shown);
  element('entries').replaceChildren(...shown.map((key, i) => row(key, values[i])));
  element('more').textContent =
    keys.length > SHOWN
      ? `The first ${SHOWN} of ${keys.length.toLocaleString('en')}: narrow them by their beginning.`
      : '';
}

function row(key: string, value: unknown): HTMLTableRowElement {
  const text = JSON.stringify(value);
  const plain = text !== undefined && JSON.stringify(JSON.parse(text)) === text && typeof value !== 'bigint';
  const line = document.createElement('tr');
  const cells = [key, text ?? String(value)].map((content) => {
    const cell = document.createElement('td');
    cell.textContent = content.length > 300 ? `${content.slice(0, 300)}…` : content;
    cell.title = content.slice(0, 2000);
    return cell;
  });
  const actions = document.createElement('td');
  const edit = button('Edit', () => {
    field(editor, 'key').value = key;
    field(editor, 'value').value = text ?? '';
    field(editor, 'value').focus();
  });
  edit.hidden = !plain;
  const remove = button('Delete', () =>
    act('Deleting', async () => {
      await storage.delete(key);
      return `Deleted ${key}`;
    }),
  );
  remove.setAttribute('aria-label', `Delete ${key}`);
  edit.setAttribute('aria-label', `Edit ${key}`);
  actions.append(edit, ' ', remove);
  line.append(...cells, actions);
  return line;
}

function button(label: string, action: () => unknown): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = label;
  made.addEventListener('click', action);
  return made;
}

const sample = (i: number): readonly [string, unknown] => [
  `sample:${String(i).padStart(5, '0')}`,
  {
    id: i,
    name: `Document ${i}`,
    createdAt: new Date(1.7e12 + i * 1000).toISOString(),
    tags: ['sample', i % 2 ? 'odd' : 'even'],
    author: { name: 'Ada Lovelace', email: `ada+${i}@example.test`, active: i % 3 === 0 },
    text: `Paragraph ${i}. `.repeat(50),
  },
];

connection.addEventListener('submit', (event) => {
  event.preventDefault();
  void act('Connecting', async () => {
    const useFlask = field(connection, 'backend').value === 'flask';
    const next = createStorage({ useFlask, flaskUrl: field(connection, 'url').value || undefined });
    await next.ready();
    await storage.close();
    storage = next;
    if (useFlask && next.getBackendType() === 'indexeddb')
      return 'The server cannot be used: see the console. Using IndexedDB';
    return 'Connected';
  });
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
  await storage.clear();
  return 'Deleted everything';
});
prefix.addEventListener('input', () => void act('Listing', async () => 'Listed'));

field(connection, 'backend').value = configured.useFlask ? 'flask' : 'indexeddb';
field(connection, 'url').value = configured.flaskUrl ?? '';
void act('Loading', async () => 'Ready');
