/**
 * The content of an envelope: devalue's array form, with additional forms for Blob, File and Error.
 *
 * Cycles and shared references keep their identity, also through the `cause` of an Error.
 */
import { stringify, unflatten } from 'devalue';
import { type ErrorForm, formOf, makeError, setCause } from './values.ts';

interface BlobForm {
  bytes: ArrayBuffer;
  type: string;
  name?: string;
  lastModified?: number;
}

/** The array form of a value that `snapshot` accepted. */
export async function seal(value: unknown): Promise<string> {
  const blobs = new Map<unknown, BlobForm>();
  await Promise.all(
    [...blobsIn(value, new Set())].map(async (blob) => blobs.set(blob, await blobForm(blob))),
  );
  return stringify(value, {
    File: (found: unknown) => blobs.get(found)?.name !== undefined && blobs.get(found),
    Blob: (found: unknown) => blobs.get(found),
    Error: (found: unknown) => found instanceof Error && formOf(found),
  });
}

/** The value of an array form. Throws devalue's own error if the form is malformed. */
export function unseal(form: unknown): unknown {
  const errors = new Map<ErrorForm, Error>();
  return unflatten(form as number | unknown[], {
    File: ({ bytes, name, ...options }: BlobForm) => new File([bytes], name ?? '', options),
    Blob: ({ bytes, type }: BlobForm) => new Blob([bytes], { type }),
    // In a cycle through `cause`, this is called twice with one form: the first time the form has no cause yet.
    Error: (form: ErrorForm) => {
      const error = errors.get(form) ?? makeError(form);
      errors.set(form, error);
      if (3 in form) setCause(error, form[3]);
      return error;
    },
  });
}

async function blobForm(blob: Blob): Promise<BlobForm> {
  const form: BlobForm = { bytes: await blob.arrayBuffer(), type: blob.type };
  if (blob instanceof File) Object.assign(form, { name: blob.name, lastModified: blob.lastModified });
  return form;
}

/** Every Blob inside a value. */
function* blobsIn(value: unknown, visited: Set<unknown>): Iterable<Blob> {
  if (typeof value !== 'object' || value === null || visited.has(value)) return;
  visited.add(value);
  if (value instanceof Blob) yield value;
  else if (ArrayBuffer.isView(value)) return;
  else {
    const inside =
      value instanceof Map ? [...value].flat() : value instanceof Set ? value : Object.values(value);
    for (const member of inside) yield* blobsIn(member, visited);
    if (value instanceof Error) yield* blobsIn(value.cause, visited);
  }
}
