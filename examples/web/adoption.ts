/**
 * Old databases: what older apps have left in this browser, copied into what is in use.
 */
import type { MigrationPlan, OldDatabase, OnConflict } from '@codeforge/storage';
import { entriesOf } from './amounts.ts';
import { askPlan, copy } from './copying.ts';
import { consequence, planFacts } from './outcome.ts';
import { type App, element, field, messageOf } from './page.ts';

const form = element<HTMLFormElement>('adoption');
const outcome = element('adoption-outcome');

let planned: MigrationPlan | undefined;

/** Forget a plan: what it was about may have changed. */
export function forgetAdoption(): void {
  planned = undefined;
  outcome.replaceChildren();
}

/** Show the old databases that there are; where there are none, nothing at all. Never rejects. */
export async function showOldDatabases({ storage }: App): Promise<void> {
  const note = element('adoption-note');
  try {
    const found = await storage.oldDatabases();
    note.textContent =
      'An older app left entries in this browser. Copying them does not change the old database.';
    element('adoption-section').hidden = found.length === 0;
    form.hidden = false;
    field(form, 'database').replaceChildren(...found.map(optionOf));
  } catch (error) {
    note.textContent = `Old databases cannot be listed: ${messageOf(error)}`;
    element('adoption-section').hidden = false;
    form.hidden = true;
  }
}

function optionOf({ name, entries }: OldDatabase): HTMLOptionElement {
  return new Option(`${name}, ${entriesOf(entries)}`, name);
}

/** Have the form's buttons do what they say. */
export function startAdoption(app: App): void {
  const nameOf = (): OldDatabase['name'] => field(form, 'database').value as OldDatabase['name'];
  element('adoption-plan').addEventListener('click', () => {
    const name = nameOf();
    void app.act(`Planning the copy of ${name}`, async () => {
      const plan = await askPlan((options) => app.storage.adopt(name, options));
      showPlan(plan);
      return `Compared ${entriesOf(plan.entries)} of ${name} with what is here: nothing was written`;
    });
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const name = nameOf();
    const known = planned;
    void app.act(`Copying ${name}`, () => adopt(app, name, known));
  });
  form.addEventListener('input', (event) => {
    if (event.target === field(form, 'database')) forgetAdoption();
    else if (planned) showPlan(planned);
  });
}

const modeOf = (): OnConflict => field(form, 'onConflict').value as OnConflict;

function showPlan(plan: MigrationPlan): void {
  planned = plan;
  const text = document.createElement('p');
  text.textContent = consequence(plan, modeOf());
  outcome.replaceChildren(...planFacts(plan), text);
}

async function adopt(app: App, name: OldDatabase['name'], known: MigrationPlan | undefined): Promise<string> {
  const onConflict = modeOf();
  const isHarmless = onConflict !== 'overwrite' || known?.conflicts.length === 0;
  if (!isHarmless && !confirm(question(known))) return 'Cancelled: nothing was copied';
  const count = await copy(
    outcome,
    (job) => app.storage.adopt(name, { ...job, onConflict }),
    () => `${name} is as it was. What arrived stays; to go on, copy it again.`,
  );
  return `Copied ${entriesOf(count)} of ${name}, each verified. The old database stays`;
}

const question = (known: MigrationPlan | undefined): string =>
  known
    ? `${entriesOf(known.conflicts.length)} here will be overwritten. Copy?`
    : 'What is here under the same keys will be overwritten, if it differs. "Plan" tells beforehand what that is. Copy?';
