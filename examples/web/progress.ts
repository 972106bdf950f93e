/**
 * The bar of a job that takes a while: what it does, how far it is, and a button that ends it.
 */
import type { ExportProgress, MigrationProgress } from '@codeforge/storage';
import { entriesOf, sizeOf } from './amounts.ts';
import { element } from './page.ts';

const PHASES = {
  export: 'Writing the backup',
  check: 'Checking the backup',
  plan: 'Comparing both sides',
  copy: 'Copying and verifying',
  'catch-up': 'Copying changes made meanwhile',
} as const;

/** What a method of the storage that takes a while is given. */
export interface Job {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: ExportProgress | MigrationProgress) => void;
}

/** A job that was ended by its button. The message says what became of it. */
export class Cancelled extends Error {}

/** Run a job with the bar shown, until it is settled. */
export async function withProgress<T>(run: (job: Job) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const cancel = element<HTMLButtonElement>('cancel');
  const abort = (): void => {
    // What is under way is waited for.
    cancel.disabled = true;
    controller.abort();
  };
  cancel.addEventListener('click', abort);
  cancel.disabled = false;
  begin();
  try {
    return await run({ signal: controller.signal, onProgress });
  } finally {
    cancel.removeEventListener('click', abort);
    element('job').hidden = true;
  }
}

function begin(): void {
  element('phase').textContent = 'Starting';
  element('amount').textContent = '';
  // Without a value its movement says that it is not known yet.
  element('done').removeAttribute('value');
  element('job').hidden = false;
}

function onProgress(progress: ExportProgress | MigrationProgress): void {
  const { done, total, bytes } = progress;
  const bar = element<HTMLProgressElement>('done');
  // Others may write meanwhile: then there is more than there was at the beginning.
  bar.max = Math.max(total, done, 1);
  bar.value = done;
  element('phase').textContent = PHASES['phase' in progress ? progress.phase : 'export'];
  const of = `${done.toLocaleString('en')} of ${entriesOf(Math.max(total, done))}`;
  element('amount').textContent = bytes > 0 ? `${of} · ${sizeOf(bytes)}` : of;
}
