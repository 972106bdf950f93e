/**
 * The list of conflicts: values that were acknowledged here, and that the server did not take.
 */
import type { Conflict, ConflictValue, KeyValueStorage } from '@codeforge/storage';
import { button, element, fill, giveBackFocus, messageOf } from './page.ts';
import { timeOf } from './status.ts';
import { textOf } from './value-text.ts';

/** Settle the conflicts of a key. */
type Settle = (key: string, choice: 'local' | 'server') => unknown;

let latest = 0;
/** The conflicts that the page shows. */
let shown = '';

/** List the conflicts; where there are none, show nothing at all. Never rejects. */
export async function showConflicts(storage: KeyValueStorage, settle: Settle): Promise<void> {
  latest += 1;
  const turn = latest;
  const items = await itemsOf(storage, settle);
  if (turn !== latest) return;
  const text = items.map(({ textContent }) => textContent).join('\n');
  // Buttons that somebody is about to press stay where they are.
  if (text === shown) return;
  shown = text;
  const had = document.activeElement;
  element('conflicts').replaceChildren(...items);
  element('conflicts-section').hidden = items.length === 0;
  giveBackFocus(had);
}

async function itemsOf(storage: KeyValueStorage, settle: Settle): Promise<HTMLElement[]> {
  try {
    // A choice settles all conflicts of a key, so they are shown as one.
    const byKey = Map.groupBy(await storage.conflicts(), ({ key }) => key);
    return [...byKey].map(([key, conflicts]) => itemOf(key, conflicts, settle));
  } catch (error) {
    return [fill(document.createElement('li'), `Conflicts cannot be listed: ${messageOf(error)}`)];
  }
}

function itemOf(key: string, conflicts: readonly Conflict[], settle: Settle): HTMLElement {
  // Only a clear() has no key. It is kept by doing it again.
  const isClear = key === '';
  const name = isClear ? 'everything' : key;
  const item = document.createElement('li');
  const facts = document.createElement('dl');
  for (const { reason, local, server, detail, atMs } of conflicts) {
    const nothing = reason === 'rejected' ? 'not known' : 'nothing';
    facts.append(
      fact('value', reason === 'restored' ? 'Last known here' : 'Written here', sideOf(local, 'deleted')),
      fact('value', 'At the server', isClear ? 'entries of other writers' : sideOf(server, nothing)),
      fact('prose', 'Why', detail),
      fact('prose', 'Found', timeOf(atMs)),
    );
  }
  const buttons = document.createElement('div');
  buttons.className = 'actions';
  // Of several values that were written here, the last one.
  if (!isClear) buttons.append(button('Keep mine', `Keep mine: ${name}`, () => settle(key, 'local')));
  buttons.append(button("Keep the server's", `Keep the server's: ${name}`, () => settle(key, 'server')));
  item.append(fill(document.createElement('h3'), name), facts, buttons);
  return item;
}

const sideOf = (side: ConflictValue, nothing: string): string => (side ? textOf(side.value) : nothing);

function fact(kind: 'value' | 'prose', term: string, text: string): HTMLElement {
  const pair = document.createElement('div');
  pair.className = kind;
  const name = document.createElement('dt');
  name.textContent = term;
  pair.append(name, fill(document.createElement('dd'), text));
  return pair;
}
