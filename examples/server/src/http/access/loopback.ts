/** Which names mean this machine, in HOST, in a Host header and in an Origin. Spec: RFC 6761 §6.3, RFC 1122 §3.2.1.3. */

const NAME = String.raw`(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])`;
const HOST = new RegExp(`^${NAME}(?::\\d*)?$`, 'i');
const ORIGIN = new RegExp(`^https?://${NAME}(?::\\d+)?$`, 'i');

/** Whether only this machine can reach a server that listens on `host`. */
export function isLoopbackAddress(host: string): boolean {
  return host === '::1' || HOST.test(host);
}

/** Whether a Host header, with or without a port, names this machine. */
export function isLoopbackHost(header: string): boolean {
  return HOST.test(header);
}

/** Whether this machine served the page of an Origin, on any port. */
export function isLoopbackOrigin(origin: string): boolean {
  return ORIGIN.test(origin);
}
