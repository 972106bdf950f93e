/** The Web Locks of a device, granted in the order of the requests. Spec: W3C Web Locks API. */
import type { Clock, Process } from './clock.ts';

type Mode = 'exclusive' | 'shared';
type Work = (lock: { readonly name: string; readonly mode: Mode } | null) => unknown;

interface LockOptions {
  readonly mode?: Mode;
  readonly signal?: AbortSignal;
  readonly ifAvailable?: boolean;
  readonly steal?: boolean;
}

interface LockRequest {
  readonly owner: Process;
  readonly name: string;
  readonly mode: Mode;
  readonly work: Work;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

export class Locks {
  private readonly held = new Set<LockRequest>();
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
        held: [...this.held].map(({ name, mode }) => ({ name, mode })),
        pending: this.waiting.map(({ name, mode }) => ({ name, mode })),
      }),
    };
  }

  isHeldBy(owner: Process): boolean {
    return [...this.held].some((request) => request.owner === owner);
  }

  /** Releases everything of a process that has ended. */
  release(owner: Process): void {
    this.waiting = this.waiting.filter((request) => request.owner !== owner);
    for (const request of [...this.held])
      if (request.owner === owner) {
        this.held.delete(request);
        this.grant(request.name);
      }
  }

  private request(owner: Process, name: string, options: LockOptions, work: Work): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { signal, mode = 'exclusive' } = options;
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const request = { owner, name, mode, work, resolve, reject };
      if (options.ifAvailable && !this.isFree(request)) {
        this.clock.schedule(owner, 0, () => {
          Promise.resolve()
            .then(() => work(null))
            .then(resolve, reject);
        });
        return;
      }
      if (options.steal) {
        for (const robbed of this.holdersOf(name)) {
          this.held.delete(robbed);
          this.clock.schedule(robbed.owner, 0, () =>
            robbed.reject(new DOMException('The lock was stolen', 'AbortError')),
          );
        }
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

  private holdersOf(name: string): LockRequest[] {
    return [...this.held].filter((request) => request.name === name);
  }

  /** Whether nothing that is held keeps a request waiting, nor another request before it. */
  private isFree(request: LockRequest): boolean {
    const first = this.waiting.find(({ name }) => name === request.name);
    if (first !== undefined && first !== request) return false;
    const holders = this.holdersOf(request.name);
    return holders.length === 0 || [request, ...holders].every(({ mode }) => mode === 'shared');
  }

  private grant(name: string): void {
    const request = this.waiting.find((one) => one.name === name);
    if (request === undefined || !this.isFree(request)) return;
    this.waiting.splice(this.waiting.indexOf(request), 1);
    this.held.add(request);
    const release = (): void => {
      this.held.delete(request);
      this.grant(name);
    };
    this.clock.schedule(
      request.owner,
      0,
      () => {
        Promise.resolve()
          .then(() => request.work({ name, mode: request.mode }))
          .finally(release)
          .then(request.resolve, request.reject);
      },
      `${request.owner.name} gets the lock`,
    );
    // Shared ones are granted together.
    this.grant(name);
  }
}
