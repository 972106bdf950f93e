/**
 * Wait for all of them, then fail as the first that failed.
 *
 * Unlike `Promise.all`, which rejects at once: of a check that failed nothing may go on beside the next one.
 */
export async function together<Value>(running: Iterable<Promise<Value>>): Promise<Value[]> {
  const outcomes = await Promise.allSettled(running);
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}
