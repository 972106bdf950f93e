/**
 * Clients with event streams, in a process of their own, and how long events took to reach them. An event that holds `at`, a
 * time as `performance.timeOrigin + performance.now()` gives it, counts.
 *
 * Environment: `SERVER`, `SINCE` (a cursor), `STREAMS`. Messages to it: `report`. It sends `open` when all streams are open.
 */
import { connect } from 'node:net';
import { quantile } from '../../harness/rounds.ts';

/** What the clients have received since the last report. Latencies are milliseconds. */
export interface StreamReport {
  readonly events: number;
  readonly bytes: number;
  readonly p50: number;
  readonly p99: number;
}

const { SERVER = '', SINCE = '', STREAMS = '' } = process.env;
const { hostname, port } = new URL(SERVER);
const MARK = Buffer.from('"at":');

let open = 0;
let bytes = 0;
let latencies: number[] = [];

function receive(chunk: Buffer): void {
  const now = performance.timeOrigin + performance.now();
  bytes += chunk.length;
  for (let at = chunk.indexOf(MARK); at >= 0; at = chunk.indexOf(MARK, at + MARK.length)) {
    const text = chunk.toString('latin1', at + MARK.length, at + MARK.length + 24);
    latencies.push(now - Number.parseFloat(text));
  }
}

for (let i = 0; i < Number(STREAMS); i += 1) {
  const socket = connect(Number(port), hostname);
  socket.write(
    `GET /api/v1/changes?since=${SINCE} HTTP/1.1\r\nHost: ${hostname}\r\nAccept: text/event-stream\r\n\r\n`,
  );
  socket.once('data', (head) => {
    if (!head.toString().startsWith('HTTP/1.1 200 ')) throw new Error(head.toString());
    open += 1;
    if (open === Number(STREAMS)) process.send?.('open');
  });
  socket.on('data', receive);
  socket.once('close', () => {
    throw new Error('An event stream has ended.');
  });
}

process.on('message', () => {
  const report: StreamReport = {
    events: latencies.length,
    bytes,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
  };
  process.send?.(report);
  bytes = 0;
  latencies = [];
});
