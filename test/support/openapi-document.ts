/**
 * docs/openapi.yaml as an object: its operations, and its schemas closed.
 *
 * The document leaves its objects open, for a reader ignores members that it does not know (docs/contract.md, 1.2). Here
 * every place where a value stands refuses members that no branch of its schema names.
 *
 * Spec: OpenAPI 3.1, JSON Schema 2020-12 (§11.3 unevaluatedProperties).
 */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

interface Reference {
  readonly $ref?: string;
}

export interface Schema extends Reference {
  readonly contentMediaType?: string;
  readonly contentSchema?: Schema;
}

interface HeaderObject extends Reference {
  readonly required?: boolean;
  readonly schema: Schema & { readonly type?: string };
}

export interface MediaType {
  readonly schema: Schema;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

export interface ResponseObject extends Reference {
  readonly headers?: Readonly<Record<string, HeaderObject>>;
  readonly content?: Readonly<Record<string, MediaType>>;
}

export interface Operation {
  readonly operationId: string;
  readonly requestBody?: Reference & { readonly content: Readonly<Record<string, MediaType>> };
  readonly responses: Readonly<Record<string, ResponseObject>>;
}

type PathItem = Partial<Readonly<Record<string, Operation>>>;

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, PathItem>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, ResponseObject>>;
  };
  readonly 'x-other-answers': Readonly<
    Record<'preflight' | 'unknownRoute' | 'unknownMethod', ResponseObject>
  >;
}

/** Where the document is. */
export const OPENAPI_FILE = new URL('../../docs/openapi.yaml', import.meta.url);

/** What an operation may be of. */
export const METHODS = ['get', 'put', 'post', 'delete'];

/** The name of a schema that has the document's schemas as `$defs`: references to them go there. */
export const SCHEMAS = 'schemas';

// `if`, `not` and `contains` are questions: closed, they would get other answers.
const BRANCHES = ['allOf', 'anyOf', 'oneOf', 'then', 'else'];
const VALUES = ['properties', 'prefixItems', 'items', 'additionalProperties', 'contentSchema'];

/** The document, closed. */
export const openapi = closed(parse(readFileSync(OPENAPI_FILE, 'utf8')) as Document);

/** Every operation of the document. */
export function operations(): Array<{ method: string; path: string; operation: Operation }> {
  return Object.entries(openapi.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      return operation ? [{ method: method.toUpperCase(), path, operation }] : [];
    }),
  );
}

/** What a reference stands for, unless it is one to a schema. */
export function deref<T extends Reference>(node: T): T {
  if (node.$ref === undefined) return node;
  const names = node.$ref.split('/').slice(1);
  let target: unknown = openapi;
  for (const name of names) target = (target as Record<string, unknown> | undefined)?.[name];
  if (target === undefined) throw new Error(`docs/openapi.yaml has no ${node.$ref}`);
  return deref(target as T);
}

/** References to schemas made absolute, and every place where a value stands made to refuse members that no branch names. */
function closed(document: Document): Document {
  for (const schema of Object.values(document.components.schemas)) closeSchema(schema, false);
  const seen = new Set<unknown>();
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null || seen.has(node)) return;
    seen.add(node);
    const object = node as Record<string, unknown>;
    if (typeof object.$ref === 'string')
      object.$ref = object.$ref.replace(/^#\/components\/schemas\//, `${SCHEMAS}#/$defs/`);
    for (const [name, child] of Object.entries(object)) {
      if (name === 'schema') closeSchema(child, true);
      if (name !== 'example' && name !== 'examples') walk(child);
    }
  };
  walk(document);
  return document;
}

function closeSchema(node: unknown, isValue: boolean): void {
  if (typeof node !== 'object' || node === null) return;
  const schema = node as Record<string, unknown>;
  const children = (names: readonly string[]) =>
    names.flatMap((name) => {
      const child = schema[name];
      const isGroup = Array.isArray(child) || name === 'properties';
      return isGroup ? Object.values(child ?? {}) : [child];
    });
  for (const child of children(BRANCHES)) closeSchema(child, false);
  for (const child of children(VALUES)) closeSchema(child, true);
  if (isValue) schema.unevaluatedProperties ??= false;
}
