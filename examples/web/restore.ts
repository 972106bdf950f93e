/**
 * Restore: a backup file is read, checked and compared first; it is stored when its plan was agreed to.
 */
import { type MigrationPlan, type OnConflict, StorageError } from '@codeforge/storage';
import { entriesOf, sizeOf } from './amounts.ts';
import { askPlan, copy } from './copying.ts';
import { consequence, isStopped, planFacts } from './outcome.ts';
import { type App, button, element, field } from './page.ts';

const form = element<HTMLFormElement>('restore');
const outcome = element('restore-outcome');

/** What was read, and not stored yet. */
let read: { readonly file: File; readonly plan: MigrationPlan } | undefined;

/** Forget a file that was read: what it was compared with may have changed. */
export function forgetRestore(): void {
  read = undefined;
  outcome.replaceChildren();
}

/** Have a file that is chosen or dropped read, and stored when that is agreed to. */
export function startRestore(app: App): void {
  const input = field(form, 'file');
  input.addEventListener('change', () => {
    const file = input.files?.[0];
    if (file) void look(app, file);
  });
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('change', ({ target }) => {
    if (target !== input) showPlan(app);
  });
  takeDrops((file) => void (input.disabled || look(app, file)));
}

/** Anywhere on the page: a browser opens a file that is dropped beside its place, and leaves the page. */
function takeDrops(take: (file: File) => void): void {
  const drop = element('drop');
  const mark = (isOver: boolean) => drop.classList.toggle('over', isOver);
  document.addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener('dragleave', ({ relatedTarget }) => {
    if (relatedTarget === null) mark(false);
  });
  document.addEventListener('drop', (event) => {
    mark(false);
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}

const modeOf = (): OnConflict => field(form, 'mode').value as OnConflict;

const look = (app: App, file: File): Promise<void> =>
  app.act(`Reading ${file.name}`, async () => {
    // Chosen a second time, it is read a second time.
    field(form, 'file').value = '';
    const plan = await askPlan((options) => app.storage.import(file, options)).catch(refuse);
    read = { file, plan };
    showPlan(app);
    return `Read ${file.name}, ${sizeOf(file.size)}: the backup is complete. Nothing was changed yet`;
  });

/** A file that is refused has changed nothing. */
function refuse(error: unknown): never {
  if (!(error instanceof StorageError) || error.code !== 'invalid-backup') throw error;
  throw new Error(`${error.message} Nothing was changed.`, { cause: error });
}

function showPlan(app: App): void {
  if (!read) return;
  const { file, plan } = read;
  const mode = modeOf();
  const name = document.createElement('h3');
  name.textContent = file.name;
  const text = document.createElement('p');
  text.textContent = consequence(plan, mode);
  const buttons = document.createElement('div');
  buttons.className = 'actions';
  if (!isStopped(plan, mode)) {
    const overwrites = mode === 'overwrite' ? plan.conflicts.length : 0;
    const label = overwrites > 0 ? `Restore and overwrite ${entriesOf(overwrites)}` : 'Restore';
    const confirmed = button(label, label, () => void restore(app, file, mode));
    confirmed.classList.toggle('danger', overwrites > 0);
    buttons.append(confirmed);
  }
  buttons.append(button('Not now', 'Do not restore', forgetRestore));
  outcome.replaceChildren(name, ...planFacts(plan), text, buttons);
}

const restore = (app: App, file: File, mode: OnConflict): Promise<void> =>
  app.act(`Restoring ${file.name}`, async () => {
    const failures = document.createElement('div');
    const again = button('Read the file again', `Read ${file.name} again`, () => void look(app, file));
    const count = await copy(
      failures,
      (job) => app.storage.import(file, { ...job, mode }),
      () => {
        outcome.replaceChildren(failures, again);
        return 'What was restored stays. To go on, read the file again.';
      },
    );
    const kept = mode === 'skip' ? '. What differs here stayed as it is' : '';
    return `Restored ${entriesOf(count)} from ${file.name}, each verified${kept}`;
  });
