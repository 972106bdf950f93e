/** Violations of section 8, and the clauses that the suite must name. */
import { createHash } from 'node:crypto';
import { answering, asking, dropParameter, textOf, type Violation } from './violate.ts';

export const TRANSFER_VIOLATIONS: readonly Violation[] = [
  {
    what: 'an export without its last line',
    asked: ['8.1', '8.3'],
    fails: ['8.1'],
    violate: answering((reply, { path }) =>
      path === '/api/v1/export' ? { body: textOf(reply).replace(/\{"end":true.*\n?$/, '') } : {},
    ),
  },
  {
    what: 'mode not looked at',
    asked: ['8.1', '8.3', '8.4'],
    fails: ['8.3'],
    violate: dropParameter('mode'),
  },
  {
    what: 'imports completed where they break off',
    asked: ['8.1', '8.3', '8.4'],
    fails: ['8.4'],
    violate: asking(({ path, body }) =>
      path.startsWith('/api/v1/import') && body !== '' && !body.includes('"end"')
        ? { body: `${body.trimEnd()}\n{"end":true,"count":${body.trimEnd().split('\n').length - 1}}\n` }
        : {},
    ),
  },
  {
    what: 'dry_run not looked at',
    asked: ['8.3', '8.4', '8.5'],
    fails: ['8.5'],
    violate: dropParameter('dry_run'),
  },
  {
    what: 'a checksum of the last line too',
    asked: ['8.1', '8.6', '8.7'],
    fails: ['8.6'],
    violate: answering((reply, { path }) =>
      path === '/api/v1/export'
        ? {
            body: textOf(reply).replace(/"sha256":"[^"]*"/, (member) =>
              member.replace(/[0-9a-f]{64}/, createHash('sha256').update(textOf(reply)).digest('hex')),
            ),
          }
        : {},
    ),
  },
  {
    what: 'a checksum announced and not written',
    asked: ['8.1', '8.4', '8.6', '8.7'],
    fails: ['8.6'],
    violate: answering((reply, { path }) =>
      path === '/api/v1/export' ? { body: textOf(reply).replace(/,"sha256":"[^"]*"/, '') } : {},
    ),
  },
  {
    what: 'checksums not looked at',
    asked: ['8.2', '8.4', '8.6', '8.7'],
    fails: ['8.7'],
    violate: asking(({ path, body }) =>
      path.startsWith('/api/v1/import') ? { body: body.replace(/,"sha256":[^}]*\}/, '}') } : {},
    ),
  },
  {
    what: 'checksums of lines that are trimmed',
    asked: ['8.2', '8.6', '8.7'],
    fails: ['8.7'],
    violate: asking(({ path, body }) =>
      path.startsWith('/api/v1/import') ? { body: body.replace(/\r?\n\s*/g, '\n') } : {},
    ),
  },
  {
    what: 'any content type taken for NDJSON',
    asked: ['8.2', '8.3'],
    fails: ['8.2'],
    violate: asking(({ path, headers }) =>
      path === '/api/v1/import' ? { headers: { ...headers, 'content-type': 'application/x-ndjson' } } : {},
    ),
  },
];
