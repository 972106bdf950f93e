/**
 * The inside of an envelope: devalue's array form, with forms of our own for Blob, File and Error.
 *
 * Loaded only when a value needs it. Cycles and shared references keep their identity, through an Error's `cause` too.
 */
import { stringify, unflatten } from 'devalue';
import { makeError, setHidden } from './values.ts';

interface BlobForm {
  bytes: ArrayBuffer;
  type: string;
  name?: string;
  lastModified?: number;
}

/** An array, because an old server sorts the members of objects: in a cycle the cause must come last. */
type ErrorForm = [name: string, message: string, stack: string | undefined, cause?: unknown];

/** The array form of a value that `snapshot` accepted. */
export async function seal(value: unknown): Promise<string> {
  const blobs = new Map<unknown, BlobForm>();
  await Promise.all(
    [...blobsIn(value, new Set())].map(async (blob) => blobs.set(blob, await blobForm(blob))),
  );
  return stringify(value, {
    File: (met: unknown) => blobs.get(met)?.name !== undefined && blobs.get(met),
    Blob: (met: unknown) => blobs.get(met),
    Error: (met: unknown) => met instanceof Error && errorForm(met),
  });
}

/** The value of an array form. Throws whatever devalue throws at malformed input. */
export function unseal(form: unknown): unknown {
  const errors = new Map<ErrorForm, Error>();
  return unflatten(form as number | unknown[], {
    File: ({ bytes, name, ...options }: BlobForm) => new File([bytes], name ?? '', options),
    Blob: ({ bytes, type }: BlobForm) => new Blob([bytes], { type }),
    // In a cycle through `cause` the same form comes here twice, the first time before its cause is known.
    Error: (form: ErrorForm) => {
      const [name, message, stack] = form;
      const error = errors.get(form) ?? makeError(name, message, stack);
      errors.set(form, error);
      if (3 in form) setHidden(error, 'cause', form[3]);
      return error;
    },
  });
}

function errorForm(error: Error): ErrorForm {
  const { name, message, stack } = error;
  return 'cause' in error ? [name, message, stack, error.cause] : [name, message, stack];
}

async function blobForm(blob: Blob): Promise<BlobForm> {
  const form: BlobForm = { bytes: await blob.arrayBuffer(), type: blob.type };
  if (blob instanceof File) Object.assign(form, { name: blob.name, lastModified: blob.lastModified });
  return form;
}

/** Every Blob that a value reaches. */
function* blobsIn(value: unknown, met: Set<unknown>): Iterable<Blob> {
  if (typeof value !== 'object' || value === null || met.has(value)) return;
  met.add(value);
  if (value instanceof Blob) yield value;
  else if (ArrayBuffer.isView(value)) return;
  else {
    const inside =
      value instanceof Map ? [...value].flat() : value instanceof Set ? value : Object.values(value);
    for (const member of inside) yield* blobsIn(member, met);
    if (value instanceof Error) yield* blobsIn(value.cause, met);
  }
}
