/**
 * How much memory a server needs while it works: resident, of all its processes.
 */
import { readFile } from 'node:fs/promises';

/** Milliseconds between two looks. */
const SAMPLE = 20;

/** Watch a server's memory from now on; the function that is returned ends that, and tells the peak above now in MB. */
export async function watchMemory({ pid }: { readonly pid: number }): Promise<() => number> {
  const idle = await residentBytes(pid);
  let peak = idle;
  const timer = setInterval(async () => {
    peak = Math.max(peak, await residentBytes(pid));
  }, SAMPLE);
  return () => {
    clearInterval(timer);
    return Math.round((peak - idle) / 1e6);
  };
}

/** Of a process and its children. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const own = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
  const inner = await Promise.all(
    children
      .split(' ')
      .filter(Boolean)
      .map((child) => residentBytes(Number(child))),
  );
  return inner.reduce((sum, bytes) => sum + bytes, own);
}
