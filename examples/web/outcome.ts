/**
 * What a migration, a restore or an adoption would do, and what it did not do, as parts of the page.
 */
import type { MigrationFailure, MigrationPlan, OnConflict } from '@codeforge/storage';
import { entriesOf, sizeOf } from './amounts.ts';
import { fill } from './page.ts';

/** Rows that are shown of a list. */
const SHOWN = 50;

/** A plan as a list of facts, with the keys that matter. */
export function planFacts({ entries, bytes, equal, conflicts, refused }: MigrationPlan): HTMLElement[] {
  const facts = document.createElement('dl');
  facts.className = 'plan';
  facts.append(
    fact('Entries', `${entries.toLocaleString('en')} · ${sizeOf(bytes)}`),
    fact('Already equal', equal.toLocaleString('en')),
    fact('Different', conflicts.length.toLocaleString('en')),
    fact('Refused', refused.length.toLocaleString('en')),
  );
  return [
    facts,
    ...listOf(
      'Different',
      conflicts.map((key) => ({ key, reason: '' })),
    ),
    ...listOf('Refused', refused),
  ];
}

/** What would become of a plan. */
export function consequence({ conflicts, refused }: MigrationPlan, mode: OnConflict): string {
  if (isStopped({ conflicts, refused }, mode)) return 'Nothing would be written.';
  const differing = entriesOf(conflicts.length);
  const verb = conflicts.length === 1 ? ['is', 'stays'] : ['are', 'stay'];
  const kept =
    mode === 'skip' ? `${differing} ${verb[1]} as before.` : `${differing} ${verb[0]} overwritten.`;
  const missing = refused.length > 0 ? ` ${entriesOf(refused.length)} would be missing.` : '';
  return `${conflicts.length > 0 ? kept : 'Nothing is overwritten.'}${missing}`;
}

/** Whether a plan would not even be begun with. */
export const isStopped = (
  { conflicts, refused }: Pick<MigrationPlan, 'conflicts' | 'refused'>,
  mode: OnConflict,
): boolean => mode === 'fail' && conflicts.length + refused.length > 0;

/** Keys and reasons, folded. Nothing where there are none. */
export function listOf(title: string, failures: readonly MigrationFailure[], isOpen = false): HTMLElement[] {
  if (failures.length === 0) return [];
  const list = document.createElement('ul');
  list.className = 'keys';
  list.append(...failures.slice(0, SHOWN).map(itemOf));
  const more = document.createElement('p');
  if (failures.length > SHOWN) more.textContent = `The first ${SHOWN} of ${entriesOf(failures.length)}.`;
  const folded = document.createElement('details');
  const summary = document.createElement('summary');
  summary.textContent = `${title}: ${entriesOf(failures.length)}`;
  folded.open = isOpen;
  folded.append(summary, list, more);
  return [folded];
}

function itemOf({ key, reason }: MigrationFailure): HTMLElement {
  const item = document.createElement('li');
  item.append(fill(document.createElement('code'), key));
  if (reason) item.append(' ', fill(document.createElement('span'), reason));
  return item;
}

function fact(term: string, text: string): HTMLElement {
  const pair = document.createElement('div');
  const name = document.createElement('dt');
  name.textContent = term;
  pair.append(name, fill(document.createElement('dd'), text));
  return pair;
}
