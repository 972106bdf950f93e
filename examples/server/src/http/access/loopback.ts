/** What counts as this machine: in HOST, in a Host header and in an Origin. */

const NAME = String.raw`(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])`;
const HOST = new RegExp(`^${NAME}(?::\\d*)?$`, 'i');
const ORIGIN = new RegExp(`^https?://${NAME}(?::\\d+)?$`, 'i');

/** Whether only this machine reaches a server that listens on `host`. */
export function isLoopbackAddress(host: string): boolean {
  return host === '::1' || HOST.test(host);
}

/** Whether a Host header, with or without a port, names this machine. */
export function isLoopbackHost(header: string): boolean {
  return HOST.test(header);
}

/** Whether a page of this origin was served by this machine, on whatever port. */
export function isLoopbackOrigin(origin: string): boolean {
  return ORIGIN.test(origin);
}
