/**
 * `GET /live`: this process answers. `GET /ready`: it should be sent requests now. They are not part of the contract, but for load
 * balancers and orchestrators.
 */
import { ANONYMOUS_TENANT, type Store } from '../store/store.ts';
import { answer } from './answers.ts';
import { HttpError } from './errors.ts';
import type { Handler } from './request.ts';

/** Milliseconds that the database may take. */
const LIMIT = 5000;

/** Asks nothing of the database: a process does not become better by a restart when the database is away. */
export const live: Handler = async () => answer('{"status":"live"}');

/** @param draining Aborts when the server is asked to stop. */
export function createReadyHandler(store: Pick<Store, 'seq'>, draining: AbortSignal): Handler {
  return async () => {
    if (draining.aborted) throw new HttpError(503, 'The server is stopping');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new HttpError(503, 'The database does not answer')), LIMIT);
    });
    try {
      await Promise.race([store.seq(ANONYMOUS_TENANT), late]);
    } finally {
      clearTimeout(timer);
    }
    return answer('{"status":"ready"}');
  };
}
