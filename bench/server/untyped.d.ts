/** What the bench uses of packages that bring no types. */

declare module 'autocannon' {
  interface Request {
    readonly method: string;
    readonly path?: string;
    readonly body?: string;
    readonly setupRequest: (request: Request) => Request;
  }

  interface Options {
    readonly url: string;
    readonly connections: number;
    /** Seconds. */
    readonly duration: number;
    /** Seconds. */
    readonly timeout: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly requests: readonly Request[];
  }

  interface Report {
    readonly requests: { readonly total: number };
    /** Bytes. */
    readonly throughput: { readonly total: number };
    readonly non2xx: number;
    readonly errors: number;
    /** Milliseconds. */
    readonly latency: { readonly p50: number; readonly p99: number };
  }

  function autocannon(options: Options): PromiseLike<Report> & { stop(): void };
  export = autocannon;
}

declare module 'json-server' {
  import type { RequestListener } from 'node:http';

  type Handler = (
    request: import('node:http').IncomingMessage,
    response: import('node:http').ServerResponse,
    next: () => void,
  ) => void;

  interface Router extends Handler {
    readonly db: { setState(state: unknown): { write(): unknown } };
  }

  interface JsonServer {
    create(): RequestListener & {
      use(...handlers: Handler[]): void;
      get(path: string, handler: Handler): void;
      post(path: string, handler: Handler): void;
    };
    router(path: string): Router;
  }

  const jsonServer: JsonServer;
  export = jsonServer;
}
