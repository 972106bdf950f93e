/** Text that is made while it is sent, as fast as the caller reads it. */

/**
 * Resolves when the first piece is there: until then, a failure can still be answered as one.
 *
 * @param pieces Returned when the caller goes away.
 * @param onFailure A failure after that: the answer has begun, and only a broken connection tells the caller.
 */
export async function textStream(
  pieces: AsyncGenerator<string, void>,
  onFailure: (error: unknown) => void,
): Promise<ReadableStream<Uint8Array>> {
  const encoder = new TextEncoder();
  let next = await pieces.next();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          if (next.done) {
            controller.close();
            return;
          }
          controller.enqueue(encoder.encode(next.value));
          next = await pieces.next();
        } catch (error) {
          onFailure(error);
          controller.close();
        }
      },
      async cancel() {
        await pieces.return();
      },
    },
    { highWaterMark: 0 },
  );
}
