/**
 * The form in which IndexedDB stores a value.
 *
 * Structured clone stores every value that `snapshot` accepts, but engines lose parts of Errors: Firefox the `stack`, and
 * WebKit an object in `cause`. A value that contains Errors is therefore wrapped: `{ $cfErrors: [value, ...forms] }`, where each
 * Error of the value is replaced by one of the forms. Structured clone keeps the identity of the forms, so they are found again,
 * also in cycles. A value that looks like a wrapper is wrapped too, without forms. Every other value is stored as it is.
 *
 * Spec: HTML, Safe passage of structured data.
 */
import type { Snapshot } from '../core/backend.ts';
import { type ErrorForm, snapshot } from '../core/values.ts';

const MARK = '$cfErrors';

export function toStored({ value, hasError }: Snapshot): unknown {
  const forms: ErrorForm[] = [];
  if (hasError) return { [MARK]: [snapshot(value, undefined, forms).value, ...forms] };
  return wrappedIn(value) === undefined ? value : { [MARK]: [value] };
}

export function fromStored(stored: unknown): unknown {
  const wrapped = wrappedIn(stored);
  // Other programs may have stored anything.
  if (!Array.isArray(wrapped)) return stored;
  const [value, ...forms] = wrapped;
  return forms.length === 0 ? value : snapshot(value, undefined, undefined, new Set(forms)).value;
}

const wrappedIn = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, MARK)
    ? (value as Readonly<Record<string, unknown>>)[MARK]
    : undefined;
