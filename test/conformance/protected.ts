/** Requests that not every caller may make, and that a refused one has changed nothing. */
import { same } from './expectations.ts';
import { pathOf, type Subject } from './subject.ts';

/** A request. */
export type Asking = readonly [method: string, path: string, body?: string, type?: string];

/** What needs scope write. Each can be sent again and again. */
export const WRITES: readonly Asking[] = [
  ['PUT', pathOf('a'), '{"value":1}'],
  ['POST', pathOf('a'), '{"value":1}'],
  ['POST', '/api/v1/batch', '{"ops":[{"op":"get","key":"a"},{"op":"put","key":"a","value":1}]}'],
  ['POST', '/api/v1/batch', '{"ops":[{"op":"get","key":"a"},{"op":"delete","key":"a"}]}'],
  ['DELETE', pathOf('a')],
  ['POST', '/api/v1/batch', '{"ops":[{"op":"check","key":"a","ifRev":null}]}'],
  ['POST', '/api/v1/batch', '{"client":"conformance-client-1","m":3,"ops":[{"op":"get","key":"a"}]}'],
  ['POST', '/api/v1/batch', '{"client":"conformance-client-1","settled":1,"ops":[]}'],
  ['POST', '/api/v1/batch', '{"client":"conformance-client-1","void":2}'],
];

/** What scope admin alone may. */
export const FOR_ADMINS: readonly Asking[] = [
  ['POST', '/api/storage/clear'],
  ['POST', '/api/storage/import', '{"a":1}'],
  ['GET', '/api/storage/export'],
  ['GET', '/api/v1/export'],
  ['POST', '/api/v1/import', '{}', 'application/x-ndjson'],
  ['POST', '/api/v1/batch', '{"ops":[{"op":"put","key":"a","value":1},{"op":"clear"}]}'],
];

/** What is stored is still `a`, with the value 0. */
export async function expectUntouched(server: Subject): Promise<void> {
  same([await server.keys(), (await server.get('a')).text], [['a'], '{"value":0}'], 'what is stored');
}
