/**
 * What is needed when a request fails, in one piece: loaded after the first answer, for later.
 */
export * from './flask-explain.ts';
export { redeliver } from './flask-redelivery.ts';
export { resend } from './flask-resend.ts';
