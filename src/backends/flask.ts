/**
 * Flask backend: a storage server over HTTP.
 *
 * It is recognised by the bodies of its answers, never by a status alone, and spoken to at the highest level that both know
 * (docs/contract.md, Detection). The code of a level is loaded when a server turns out to speak it.
 */
import type { Backend, Protocol } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import type { Token } from '../core/token.ts';
import {
  createExchange,
  createHttp,
  type Exchange,
  isConnectionFailure,
  type JsonObject,
  notOurs,
} from './flask-http.ts';

/** Milliseconds that each request of the detection may take. */
const DETECTION_TIMEOUT = 2000;

/** What the detection found. */
export interface Detected {
  readonly level: 0 | 1;
  /** Why, in words. */
  readonly reason: string;
}

/** A storage server. */
export interface FlaskBackend extends Backend {
  /** What the last detection that succeeded found. */
  readonly detected: () => Detected | undefined;
}

/**
 * A backend over the server at `url`.
 *
 * @param url Its base URL, as `checkServerUrl` returned it: with a trailing slash.
 * @param timeout Milliseconds a request.
 */
export function createFlaskBackend(url: string, timeout: number, token?: Token): FlaskBackend {
  const controller = new AbortController();
  const { signal } = controller;
  const exchange = createExchange(url, timeout, signal, token);
  let detected: Detected | undefined;
  let protocol: Promise<Protocol> | undefined;

  async function use({ health, reason }: Found): Promise<Protocol> {
    detected = { level: health === undefined ? 0 : 1, reason };
    if (health === undefined) {
      const { createProtocol } = await import('./flask-level0-batch.ts');
      return createProtocol(createHttp(exchange));
    }
    const { createProtocol } = await import('./flask-level1-batch.ts');
    return createProtocol(exchange, timeout, signal, health);
  }
  /** Asks the server once, unless that failed. */
  const opened = (): Promise<Protocol> => {
    protocol ??= retryable(detect(exchange, url).then(use));
    return protocol;
  };
  /** What failed is not remembered. */
  const retryable = (using: Promise<Protocol>): Promise<Protocol> =>
    using.catch((error) => {
      protocol = undefined;
      throw error;
    });

  return {
    type: 'flask',
    detected: () => detected,
    async open() {
      const known = protocol !== undefined;
      await opened();
      if (!known) return;
      // Whoever asks again wants to know whether it answers now, and it may have been upgraded since. Only /health itself says
      // that: another protocol knows nothing of the writes that this one has in doubt.
      const found = await detect(exchange, url);
      const other = (found.health !== undefined) !== (detected?.level === 1);
      if (found.read && other) protocol = retryable(use(found));
      await protocol;
    },
    run: async (operations) => (await opened()).run(operations),
    keys: async (prefix) => (await opened()).keys(prefix),
    async *entries(prefix) {
      yield* (await opened()).entries(prefix);
    },
    stats: async () => (await opened()).stats(),
    async close() {
      controller.abort();
    },
  };
}

/** What `/health` of a server of level 1 says, or nothing, and what was found in words. */
interface Found {
  readonly health: JsonObject | undefined;
  readonly reason: string;
  /** Whether `/health` had a whole answer. */
  readonly read: boolean;
}

/** What level 1 is spoken through: without these there is none for the SDK. */
const NEEDED = ['batch', 'keys'];

/**
 * Ask a server who it is.
 *
 * @throws {StorageError} when it is no storage server, or does not answer.
 */
async function detect(exchange: Exchange, url: string): Promise<Found> {
  const health = await askHealth(exchange, url);
  if (health.found) return health.found;
  const path = 'api/storage/_health_check';
  try {
    const probe = await createHttp(exchange)({ method: 'GET', path, timeout: DETECTION_TIMEOUT });
    if (!probe.missing && !Object.hasOwn(probe.json, 'value'))
      throw notOurs(`GET ${url}${path}`, 'JSON without a value');
  } catch (error) {
    if (isConnectionFailure(error) && (await answersOpaquely(url))) {
      throw new StorageError(
        'unavailable',
        `${url} answers, but not to this page: likely CORS. Allow the origin ${globalThis.location?.origin} at the server (ALLOWED_ORIGINS).`,
        { cause: error },
      );
    }
    throw error;
  }
  // The server is there. If it was only that answer that was lost, the level must not depend on it.
  const { read, found } = health.read ? health : await askHealth(exchange, url);
  if (found) return found;
  const reason = read
    ? `${url}health announced no contract: level 0`
    : `${url}health could not be read, and ${url}${path} answered as level 0 does`;
  return { health: undefined, reason, read };
}

/** What `/health` says: what was found, where it names a contract, and whether it was a storage server's answer at all. */
async function askHealth(exchange: Exchange, url: string): Promise<{ read: boolean; found?: Found }> {
  // A header of our own would cost a page a preflight, and some servers have no CORS headers here.
  const request = { method: 'GET', path: 'health', timeout: DETECTION_TIMEOUT, anonymous: true } as const;
  const reply = await exchange(request);
  if (!reply.ok || reply.json.status !== 'ok') return { read: false };
  const health = reply.json;
  const contract = Number(health.contract);
  if (!(contract >= 1)) return { read: true };
  const announced = `${url}health announced contract ${contract}`;
  const has = Array.isArray(health.capabilities) ? health.capabilities : [];
  const missing = NEEDED.filter((name) => !has.includes(name));
  if (missing.length === 0) return { read: true, found: { health, reason: announced, read: true } };
  const reason = `${announced} without ${missing.join(' and ')}: level 0`;
  return { read: true, found: { health: undefined, reason, read: true } };
}

/** Whether something answers a request whose answer a page may not read: then it is CORS that stands between. */
async function answersOpaquely(url: string): Promise<boolean> {
  if (globalThis.location === undefined) return false;
  const options = {
    mode: 'no-cors',
    credentials: 'omit',
    signal: AbortSignal.timeout(DETECTION_TIMEOUT),
  } as const;
  return fetch(`${url}health`, options).then(
    () => true,
    () => false,
  );
}
