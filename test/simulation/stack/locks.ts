/** The Web Locks of a device: exclusive locks, granted in the order of the requests. Spec: W3C Web Locks API. */
import type { Clock, Process } from './clock.ts';

type Work = (lock: { readonly name: string; readonly mode: 'exclusive' } | null) => unknown;

interface LockOptions {
  readonly signal?: AbortSignal;
  readonly ifAvailable?: boolean;
  readonly steal?: boolean;
}

interface LockRequest {
  readonly owner: Process;
  readonly name: string;
  readonly work: Work;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

export class Locks {
  private readonly held = new Map<string, LockRequest>();
  private waiting: LockRequest[] = [];
  private readonly clock: Clock;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** `navigator.locks` of a tab. */
  managerOf(owner: Process): object {
    return {
      request: (name: string, first: LockOptions | Work, second?: Work) =>
        typeof first === 'function'
          ? this.request(owner, name, {}, first)
          : this.request(owner, name, first, second as Work),
      query: async () => ({
        held: [...this.held.keys()].map((name) => ({ name, mode: 'exclusive' })),
        pending: this.waiting.map(({ name }) => ({ name, mode: 'exclusive' })),
      }),
    };
  }

  isHeldBy(owner: Process): boolean {
    return [...this.held.values()].some((request) => request.owner === owner);
  }

  /** Releases everything of a process that has ended. */
  release(owner: Process): void {
    this.waiting = this.waiting.filter((request) => request.owner !== owner);
    for (const [name, request] of [...this.held])
      if (request.owner === owner) {
        this.held.delete(name);
        this.grant(name);
      }
  }

  private request(owner: Process, name: string, options: LockOptions, work: Work): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const request = { owner, name, work, resolve, reject };
      if (options.ifAvailable && (this.held.has(name) || this.waiting.some((other) => other.name === name))) {
        this.clock.schedule(owner, 0, () => {
          Promise.resolve()
            .then(() => work(null))
            .then(resolve, reject);
        });
        return;
      }
      if (options.steal) {
        const robbed = this.held.get(name);
        this.held.delete(name);
        if (robbed)
          this.clock.schedule(robbed.owner, 0, () =>
            robbed.reject(new DOMException('The lock was stolen', 'AbortError')),
          );
        this.waiting.unshift(request);
      } else this.waiting.push(request);
      signal?.addEventListener('abort', () => {
        const at = this.waiting.indexOf(request);
        if (at < 0) return;
        this.waiting.splice(at, 1);
        reject(signal.reason);
        this.grant(name);
      });
      this.grant(name);
    });
  }

  private grant(name: string): void {
    if (this.held.has(name)) return;
    const at = this.waiting.findIndex((request) => request.name === name);
    const [request] = at < 0 ? [] : this.waiting.splice(at, 1);
    if (request === undefined) return;
    this.held.set(name, request);
    const release = (): void => {
      if (this.held.get(name) === request) this.held.delete(name);
      this.grant(name);
    };
    this.clock.schedule(
      request.owner,
      0,
      () => {
        Promise.resolve()
          .then(() => request.work({ name, mode: 'exclusive' }))
          .finally(release)
          .then(request.resolve, request.reject);
      },
      `${request.owner.name} gets the lock`,
    );
  }
}
