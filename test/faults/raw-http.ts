/**
 * HTTP by hand: bytes to a server, cut as they please, and the answers as they came.
 *
 * Spec: RFC 9112 §6.3 for where an answer ends.
 */
import { connect } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';

/** A whole answer. */
export interface RawAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** What came back on a connection. */
export interface Heard {
  readonly answers: readonly RawAnswer[];
  /** Bytes after the last whole answer. */
  readonly rest: Buffer;
  /** Whether the server ended the connection. */
  readonly closed: boolean;
}

interface Sending {
  /** In this order, without a wait between them but a turn of the event loop. */
  readonly pieces: readonly Buffer[];
  /** A method for each answer to wait for. */
  readonly methods: readonly string[];
  /** Milliseconds to wait for them. */
  readonly patienceMs: number;
}

/** Send bytes on a connection of their own. Resolves when the answers are there, the server has ended it, or patience has. */
export async function sendRaw(url: string, { pieces, methods, patienceMs }: Sending): Promise<Heard> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname).setNoDelay();
  let received = Buffer.alloc(0);
  const heard = (closed: boolean): Heard => ({ ...parseAnswers(received, methods, closed), closed });
  return new Promise((resolve) => {
    const settle = (closed: boolean): void => {
      clearTimeout(patience);
      resolve(heard(closed));
      socket.destroy();
    };
    const patience = setTimeout(() => settle(false), patienceMs);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (heard(false).answers.length >= methods.length) settle(false);
    });
    socket.on('end', () => settle(true));
    socket.on('error', () => settle(true));
    socket.on('connect', async () => {
      for (const piece of pieces) {
        if (socket.destroyed) return;
        socket.write(piece);
        if (pieces.length > 1) await turn();
      }
    });
  });
}

const HEAD_END = '\r\n\r\n';

function parseAnswers(
  bytes: Buffer,
  methods: readonly string[],
  closed: boolean,
): { answers: RawAnswer[]; rest: Buffer } {
  const answers: RawAnswer[] = [];
  let rest = bytes;
  while (rest.length > 0) {
    const headEnd = rest.indexOf(HEAD_END);
    const head = parseHead(rest.toString('latin1', 0, headEnd));
    if (headEnd === -1 || head === undefined) break;
    const afterHead = rest.subarray(headEnd + HEAD_END.length);
    if (head.status < 200) {
      rest = afterHead;
      continue;
    }
    const body = bodyOf(head, methods[answers.length] ?? 'GET', afterHead, closed);
    if (body === undefined) break;
    answers.push({ ...head, body: decoded(body.bytes, head.headers) });
    rest = afterHead.subarray(body.length);
  }
  return { answers, rest };
}

interface Head {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
}

function parseHead(text: string): Head | undefined {
  const [first = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1];
  if (status === undefined) return undefined;
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(status), headers: new Map(headers) };
}

interface Body {
  readonly bytes: Buffer;
  /** With its framing. */
  readonly length: number;
}

/** `undefined` while it is not whole. */
function bodyOf({ status, headers }: Head, method: string, bytes: Buffer, closed: boolean): Body | undefined {
  if (method === 'HEAD' || status === 204 || status === 304) return { bytes: Buffer.alloc(0), length: 0 };
  // An event stream never ends: its head says all.
  if (headers.get('content-type') === 'text/event-stream')
    return { bytes: Buffer.alloc(0), length: bytes.length };
  if (headers.get('transfer-encoding') === 'chunked') return chunkedBody(bytes);
  const length = headers.get('content-length');
  if (length === undefined) return closed ? { bytes, length: bytes.length } : undefined;
  if (bytes.length < Number(length)) return undefined;
  return { bytes: bytes.subarray(0, Number(length)), length: Number(length) };
}

function chunkedBody(bytes: Buffer): Body | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd === -1) return undefined;
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    const from = lineEnd + 2;
    at = from + size + 2;
    if (!(at <= bytes.length)) return undefined;
    if (size === 0) return { bytes: Buffer.concat(chunks), length: at };
    chunks.push(bytes.subarray(from, from + size));
  }
}

const decoded = (bytes: Buffer, headers: ReadonlyMap<string, string>): string =>
  (headers.get('content-encoding') === 'gzip' && bytes.length > 0 ? gunzipSync(bytes) : bytes).toString();
