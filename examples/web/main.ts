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

/** Why the last server that was asked for cannot be used. */
let reason = '';
const logger = {
  info: (): void => {},
  warn: (line: string): void => {
    reason = line;
  },
};
let storage: KeyValueStorage = createStorage({ ...configured, logger });
/** The server that `storage` was created for. */
let server = configured.flaskUrl ?? '';

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
    const took = Math.round(performance.now() - started);
    // Whoever reads the message finds the page as it says.
    await show();
    message.textContent = `${text} (${took} ms)`;
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
  const { backend, level, reason: why } = storage.status();
  element('backend').textContent =
    backend === 'flask' ? `Flask backend at ${server} (level ${level})` : 'IndexedDB';
  element('backend').title = why;
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
  const plain = isPlain(value);
  const text = plain ? JSON.stringify(value) : describe(value);
  const line = document.createElement('tr');
  const cells = [key, text].map((content) => {
    const cell = document.createElement('td');
    cell.textContent = content.length > 300 ? `${content.slice(0, 300)}…` : content;
    cell.title = content.slice(0, 2000);
    return cell;
  });
  const actions = document.createElement('td');
  const edit = button('Edit', () => {
    field(editor, 'key').value = key;
    field(editor, 'value').value = text;
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

/** Whether JSON gives the value back as it is: only then it can be edited here. */
function isPlain(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== 'object' || value === null)
    return value === null || (typeof value !== 'bigint' && value !== undefined);
  const prototype = Object.getPrototypeOf(value);
  return (Array.isArray(value) || prototype === Object.prototype) && Object.values(value).every(isPlain);
}

/** What can be said in one line of a value that JSON has no form for. */
function describe(value: unknown): string {
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (value instanceof Date) return `Date ${Number.isNaN(value.getTime()) ? 'invalid' : value.toISOString()}`;
  if (value instanceof Map || value instanceof Set) return `${kind} of ${value.size}`;
  if (value instanceof Blob) return `${kind}, ${value.size} bytes, ${value.type || 'no type'}`;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `${kind}, ${value.byteLength} bytes`;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value instanceof RegExp || value instanceof Error) return String(value);
  return `${kind} with ${Object.keys(value ?? {}).join(', ')}`;
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
    const flaskUrl = field(connection, 'url').value;
    const token = field(connection, 'token').value;
    const next = createStorage({
      useFlask,
      flaskUrl: flaskUrl || undefined,
      token: token || undefined,
      logger,
    });
    await next.ready();
    await storage.close();
    storage = next;
    server = flaskUrl;
    field(connection, 'backend').value = next.getBackendType();
    if (useFlask && next.getBackendType() === 'indexeddb') throw new Error(reason);
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
  const where = element('backend').textContent;
  if (!confirm(`Delete everything that ${where} holds?`)) return 'Deleted nothing';
  await storage.clear();
  return 'Deleted everything';
});
prefix.addEventListener('input', () => void act('Listing', async () => 'Listed'));

field(connection, 'backend').value = configured.useFlask ? 'flask' : 'indexeddb';
field(connection, 'url').value = configured.flaskUrl ?? '';
void act('Loading', async () => 'Ready');
