/**
 * The list of entries. What cannot be read is said in its place: the rest of the page goes on.
 */
import type { KeyValueStorage } from '@codeforge/storage';
import { button, element, fill, giveBackFocus, messageOf } from './page.ts';
import { isPlain, textOf } from './value-text.ts';

/** Rows shown at once: a page of 10,000 rows would be slow, not the storage. */
const SHOWN = 100;

/** What the buttons of a row do. */
interface RowActions {
  edit(key: string, text: string): unknown;
  remove(key: string): unknown;
}

let latest = 0;

/** List the entries whose keys begin with `prefix`. Never rejects. */
export async function showEntries(
  storage: KeyValueStorage,
  prefix: string,
  actions: RowActions,
): Promise<void> {
  latest += 1;
  const turn = latest;
  const { rows, counts, note, failed } = await listed(storage, prefix, actions);
  // One that was asked for later has what is there now.
  if (turn !== latest) return;
  const had = document.activeElement;
  element('entries').replaceChildren(...rows);
  giveBackFocus(had);
  element('counts').textContent = counts;
  element('more').textContent = note;
  element('more').classList.toggle('failed', failed);
}

interface Listed {
  readonly rows: readonly HTMLElement[];
  readonly counts: string;
  readonly note: string;
  readonly failed: boolean;
}

async function listed(storage: KeyValueStorage, prefix: string, actions: RowActions): Promise<Listed> {
  try {
    const keys = await storage.keys({ prefix });
    const shown = keys.slice(0, SHOWN);
    // Read one by one, which travel together: one that cannot be read does not hide the others.
    const values = await Promise.allSettled(shown.map((key) => storage.get(key)));
    const count = keys.length.toLocaleString('en');
    return {
      rows: values.map((value, i) => rowOf(shown[i] ?? '', value, actions)),
      counts: `· ${count} ${keys.length === 1 ? 'entry' : 'entries'}`,
      note: keys.length > SHOWN ? `The first ${SHOWN} of ${count}: type a prefix to narrow the list.` : '',
      failed: false,
    };
  } catch (error) {
    return { rows: [], counts: '', note: `The entries cannot be listed: ${messageOf(error)}`, failed: true };
  }
}

function rowOf(key: string, read: PromiseSettledResult<unknown>, actions: RowActions): HTMLTableRowElement {
  const isRead = read.status === 'fulfilled';
  const text = isRead ? textOf(read.value) : messageOf(read.reason);
  const row = document.createElement('tr');
  const cells = [key, text].map((content) => fill(document.createElement('td'), content));
  cells[1]?.classList.toggle('failed', !isRead);
  const edit = button('Edit', `Edit ${key}`, () => actions.edit(key, text));
  edit.hidden = !isRead || !isPlain(read.value);
  const remove = button('Delete', `Delete ${key}`, () => actions.remove(key));
  const last = document.createElement('td');
  last.append(edit, ' ', remove);
  row.append(...cells, last);
  return row;
}
