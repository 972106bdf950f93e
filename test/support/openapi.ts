/**
 * docs/openapi.yaml as a check: an answer either is documented, or it is an error that says what is not.
 *
 * Objects are closed here, and open lists are enumerations: what the document does not name is drift.
 *
 * Spec: OpenAPI 3.1, JSON Schema 2020-12, HTML (Server-sent events).
 */
import type { IncomingHttpHeaders } from 'node:http';
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import {
  deref,
  METHODS,
  type MediaType,
  type Operation,
  openapi,
  type ResponseObject,
  SCHEMAS,
  type Schema,
} from './openapi-document.ts';

/** An answer as it came. */
export interface Observed {
  readonly method: string;
  /** The request target: with its query, as it was sent. */
  readonly path: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders | Headers;
  readonly text: string;
}

const KEY_PREFIX = '/api/storage/';
const KEY_PATH = '/api/storage/{key}';
const ajv = new Ajv2020({ strict: true, strictTypes: false, strictTuples: false, allErrors: true });
addFormats(ajv);
ajv.addVocabulary(['discriminator']);
ajv.addKeyword({ keyword: 'x-extensible-enum', macro: (names: string[]) => ({ enum: names }) });
ajv.addSchema({ $id: SCHEMAS, $defs: openapi.components.schemas });

/**
 * Check an answer against the document: its status for this route and method, its headers, content type and body.
 *
 * @returns What it was documented as, such as `GET /api/storage/{key} 404`.
 * @throws {Error} That says everything that differs.
 */
export function expectDocumented(observed: Observed): string {
  const { method, path, status, text } = observed;
  const { name, response } = find(observed);
  const problems = response
    ? [...headerProblems(response, observed), ...bodyProblems(response, observed)]
    : ['this status is not documented here'];
  if (problems.length === 0) return name;
  const shown = text.length > 600 ? `${text.slice(0, 600)}…` : text;
  throw new Error(
    `${method} ${path.slice(0, 200)} answered ${status}, but by docs/openapi.yaml (${name}):\n` +
      `${problems.map((problem) => `- ${problem}\n`).join('')}${shown}`,
  );
}

/** What is wrong with a text as a body of this media type. */
export function mediaProblems(type: string, { schema }: MediaType, text: string): string[] {
  try {
    if (!/[/+]json$/.test(type)) return textProblems(schema, text);
    return schemaProblems(schema, JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError) return [`the body is no ${type}: ${error.message}`];
    throw error;
  }
}

/** What is wrong with a value. */
export function schemaProblems(schema: Schema, value: unknown): string[] {
  const validate = ajv.compile(schema);
  if (validate(value)) return [];
  return (validate.errors ?? []).slice(0, 12).map(problemText);
}

function find({ method, path: target, status }: Observed): { name: string; response?: ResponseObject } {
  const path = target.replace(/^https?:\/\/[^/?]*/i, '').replace(/\?.*$/s, '');
  const verb = method === 'HEAD' ? 'get' : method.toLowerCase();
  const template =
    openapi.paths[path]?.[verb] === undefined && path.startsWith(KEY_PREFIX) && path !== KEY_PREFIX
      ? KEY_PATH
      : path;
  const item = openapi.paths[template];
  const operation = METHODS.includes(verb) ? item?.[verb] : undefined;
  const responses = operation?.responses ?? otherAnswers(item !== undefined, verb, path);
  const response = responses[status] ?? (isBelowRoutes(status) ? responses.default : undefined);
  const name = `${method} ${item ? template : 'no route'} ${status}`;
  return response ? { name, response: deref(response) } : { name };
}

function otherAnswers(isRoute: boolean, verb: string, path: string): Operation['responses'] {
  const { preflight, unknownRoute, unknownMethod } = openapi['x-other-answers'];
  const { Unauthorized, Forbidden, Busy, Refused } = openapi.components.responses;
  // A route of level 1 need not be there (4.3).
  const mayBeMissing = !isRoute || path.startsWith('/api/v1/');
  return Object.fromEntries(
    Object.entries({
      204: verb === 'options' ? preflight : undefined,
      401: Unauthorized,
      403: Forbidden,
      404: mayBeMissing ? unknownRoute : undefined,
      405: isRoute ? unknownMethod : undefined,
      503: Busy,
      default: Refused,
    }).flatMap(([status, response]) => (response ? [[status, response]] : [])),
  );
}

/** The statuses of the shared answer, which its schema names too; but the answer to a HEAD has no body to look at. */
function isBelowRoutes(status: number): boolean {
  return [400, 408, 413, 417, 431].includes(status);
}

function headerProblems({ headers = {} }: ResponseObject, observed: Observed): string[] {
  return Object.entries(headers).flatMap(([name, reference]) => {
    const { required = false, schema } = deref(reference);
    const text = headerOf(observed, name);
    if (text === undefined) return required ? [`the header ${name} is missing`] : [];
    const value = schema.type === 'integer' && /^\d+$/.test(text) ? Number(text) : text;
    return schemaProblems(schema, value).map((problem) => `the header ${name}: ${text}: ${problem}`);
  });
}

function bodyProblems({ content }: ResponseObject, observed: Observed): string[] {
  const { method, status, text } = observed;
  if (content === undefined) return text === '' ? [] : ['a body, where there is none'];
  const type =
    headerOf(observed, 'content-type')
      ?.replace(/\s*;.*$/s, '')
      .toLowerCase() ?? 'none';
  const media = content[type];
  if (media === undefined) return [`the content type is ${type}, not ${Object.keys(content).join(' or ')}`];
  if (method === 'HEAD') return text === '' ? [] : ['a body in the answer to HEAD'];
  const problems = mediaProblems(type, media, text);
  if (problems.length > 0 || status < 400) return problems;
  const { status: told } = JSON.parse(text);
  return told === status ? [] : [`the member status is ${told}`];
}

function headerOf({ headers }: Observed, name: string): string | undefined {
  if (headers instanceof Headers) return headers.get(name) ?? undefined;
  const value = headers[name.toLowerCase()];
  return Array.isArray(value) ? value.join(', ') : value;
}

function textProblems({ contentMediaType, contentSchema }: Schema, text: string): string[] {
  if (contentSchema === undefined) return [];
  const isStream = contentMediaType === 'text/event-stream';
  const items = isStream ? eventsOf(text) : linesOf(text);
  const problems = schemaProblems(contentSchema, items);
  return problems.length > 0 || isStream ? problems : endProblems(items);
}

function linesOf(text: string): unknown[] {
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
}

/** What no schema can say of lines: that the end is the last of them, and right. */
function endProblems(lines: readonly unknown[]): string[] {
  const { end, count } = lines.at(-1) as { end?: boolean; count?: number };
  if (end !== true) return ['the last line is not the end'];
  return count === lines.length - 2 ? [] : [`the end counts ${count} of ${lines.length - 2} records`];
}

/** The events that a browser would dispatch: with data, and with the empty line that ends them. */
function eventsOf(text: string): unknown[] {
  return text
    .split('\n\n')
    .slice(0, -1)
    .flatMap((block) => {
      const event: Record<string, string> = {};
      const data: string[] = [];
      for (const [, name = '', value = ''] of block.matchAll(/^([^:\n]+)(?:: ?(.*))?$/gm)) {
        if (name === 'data') data.push(value);
        else event[name] = value;
      }
      return data.length === 0 ? [] : [{ ...event, data: JSON.parse(data.join('\n')) }];
    });
}

function problemText({ instancePath, message, params, keyword }: ErrorObject): string {
  const { unevaluatedProperty, allowedValues, allowedValue } = params;
  const which = unevaluatedProperty ?? allowedValues ?? allowedValue;
  const told = which === undefined ? '' : ` (${JSON.stringify(which)})`;
  return `${instancePath === '' ? 'the whole' : instancePath} ${message ?? keyword}${told}`;
}
