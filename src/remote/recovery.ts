/**
 * What is needed when a request fails, in one piece: loaded after the first answer, for later.
 */

export { redeliver } from './level1/redelivery.ts';
export { resend } from './level1/resend.ts';
export * from './messages.ts';
