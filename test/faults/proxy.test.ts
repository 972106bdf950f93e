/** The proxy itself: what it counts, delays and cuts. The faults are seen at work in the other tests here. */
import { once } from 'node:events';
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { requestHeld } from '../support/faults.ts';
import { listen } from '../support/ports.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';

const BODY = 'x'.repeat(100_000);
const http = createServer((request, response) => {
  request.resume().on('end', () => response.end(BODY));
});
let url = '';
let proxy: TcpProxy | undefined;

beforeEach(async () => {
  url = `http://127.0.0.1:${await listen(http)}`;
});
afterEach(async () => {
  await proxy?.close();
  http.closeAllConnections();
  await new Promise((done) => http.close(done));
});

async function fetchText(init?: RequestInit): Promise<string> {
  return (await fetch(`${proxy?.url}/`, init)).text();
}

it('counts connections, requests and bytes, also of a connection that is kept', async () => {
  proxy = await startProxy(url);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (const body of ['a'.repeat(50_000), 'b'.repeat(50_000)]) {
    const request = httpRequest(proxy.url, { agent, method: 'POST' }).end(body);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect(await textOf(response)).toBe(BODY);
  }
  agent.destroy();
  const { connections, requests, bytesUp, bytesDown } = proxy.traffic;
  expect([connections, requests]).toEqual([1, 2]);
  expect(bytesUp).toBeGreaterThan(100_000);
  expect(bytesUp).toBeLessThan(102_000);
  expect(bytesDown).toBeGreaterThan(200_000);
  expect(bytesDown).toBeLessThan(202_000);
});

it('counts the same where it is given faults', async () => {
  proxy = await startProxy(url, { faults: () => undefined });
  for (const body of ['a'.repeat(50_000), 'b'.repeat(50_000)])
    expect(await fetchText({ method: 'POST', body })).toBe(BODY);
  expect(proxy.traffic).toMatchObject({ connections: 2, requests: 2 });
  expect(proxy.traffic.bytesUp).toBeGreaterThan(100_000);
  expect(proxy.traffic.bytesDown).toBeGreaterThan(200_000);
});

it('takes its latency each way', async () => {
  proxy = await startProxy(url, { latencyMs: 100 });
  const begun = performance.now();
  expect(await fetchText()).toBe(BODY);
  // Timers may be a millisecond early.
  expect(performance.now() - begun).toBeGreaterThan(195);
});

it('resets every connection while it is cut', async () => {
  proxy = await startProxy(url);
  await fetchText();
  proxy.cut();
  await expect(fetchText()).rejects.toThrow();
  proxy.restore();
  expect(await fetchText()).toBe(BODY);
});

it('delivers a held request though its client has gone', async () => {
  const held = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<Buffer>();
  proxy = await startProxy(url, {
    faults: () => ({ ...requestHeld(held.promise, 'rst'), observe: answered.resolve }),
  });
  await expect(fetchText()).rejects.toThrow();
  held.resolve();
  expect((await answered.promise).toString()).toMatch(/^HTTP\/1\.1 200 OK/);
});
