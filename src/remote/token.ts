/**
 * The token of a request, where an app gives a function for it. Loaded when one does.
 *
 * Spec: RFC 6750.
 */
import { closedError, StorageError } from '../core/errors.ts';
import { isToken, type Token } from '../core/token.ts';

/**
 * Ask for one. What hangs counts as a request that hangs.
 *
 * @param limit Milliseconds.
 * @throws {StorageError} `timeout`, `forbidden`, `invalid-option`, `closed`
 */
export async function askToken(
  token: Exclude<Token, string>,
  limit: number,
  signal: AbortSignal,
): Promise<string> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let giveUp = (): void => {};
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new StorageError('timeout', `token() gave none within ${Math.round(limit)} ms.`)),
      limit,
    );
    giveUp = () => reject(closedError());
    signal.addEventListener('abort', giveUp);
  });
  try {
    if (signal.aborted) throw closedError();
    const asked = (async () => token())().catch((cause) => {
      throw new StorageError('forbidden', `token() failed, so no request was sent: ${cause}`, { cause });
    });
    const given = await Promise.race([asked, late]);
    if (isToken(given)) return given;
    throw new StorageError('invalid-option', 'A token is text of visible ASCII characters without spaces.');
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', giveUp);
  }
}
