/** A container that runs, as an operator is told to start it: without rights, and with a root that it cannot write to. */
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../ports.ts';
import type { ImageName } from './images.ts';
import type { Ended, Podman } from './podman.ts';

/** Milliseconds that a container may take until it answers. */
const START_TIMEOUT = 60_000;

/** Seconds until the engine kills a container that was told to stop: Docker's default. */
const STOP_SECONDS = '10';

/** Options of `podman run`. Timers for health checks need systemd: the tests run the checks. */
const LOCKED = [
  '--health-interval=disable',
  '--read-only',
  '--cap-drop=all',
  '--security-opt=no-new-privileges',
];

const variables = (env: Readonly<Record<string, string>>): string[] =>
  Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);

/** Runs an image that is expected to end by itself. */
export const runToEnd = (
  podman: Podman,
  image: ImageName,
  env: Readonly<Record<string, string>>,
): Promise<Ended> => podman.run('run', '--rm', ...LOCKED, ...variables(env), image);

export class Container {
  readonly url: string;
  readonly #podman: Podman;
  readonly #id: string;

  private constructor(podman: Podman, id: string, url: string) {
    this.#podman = podman;
    this.#id = id;
    this.url = url;
  }

  /**
   * Starts one on a free port of this machine.
   *
   * @param path What must answer before it counts as started.
   */
  static async start(
    podman: Podman,
    image: ImageName,
    env: Readonly<Record<string, string>>,
    path: string,
    ...options: readonly string[]
  ): Promise<Container> {
    const port = await freePort();
    const all = [...LOCKED, ...variables({ PORT: String(port), ...env }), ...options, image];
    const id = await podman.output('run', '--detach', ...all);
    const container = new Container(podman, id, `http://127.0.0.1:${port}`);
    const deadline = Date.now() + START_TIMEOUT;
    while ((await fetch(container.url + path).catch(() => undefined))?.status !== 200) {
      if (Date.now() > deadline) throw new Error(`${image} does not answer:\n${await container.log()}`);
      await delay(50);
    }
    return container;
  }

  async log(): Promise<string> {
    const { stdout, stderr } = await this.#podman.run('logs', this.#id);
    return stdout + stderr;
  }

  /** Runs a program in it. */
  exec(...command: readonly string[]): Promise<Ended> {
    return this.#podman.run('exec', this.#id, ...command);
  }

  /** Its health after one run of its check. */
  async health(): Promise<string> {
    await this.#podman.run('healthcheck', 'run', this.#id);
    return this.#podman.output('inspect', '--format', '{{.State.Health.Status}}', this.#id);
  }

  /** Runs its check with another port, on which nothing answers. */
  async checkOfNothing(): Promise<Ended> {
    const test = await this.#podman.output(
      'inspect',
      '--format',
      '{{json .Config.Healthcheck.Test}}',
      this.#id,
    );
    const [, ...command] = JSON.parse(test) as string[];
    return this.#podman.run('exec', '--env', `PORT=${await freePort()}`, this.#id, ...command);
  }

  /** Stops it as an engine does, and removes it. Resolves with its exit code: 137 if it had to be killed. */
  async stop(): Promise<number> {
    await this.#podman.output('stop', '--time', STOP_SECONDS, this.#id);
    const code = await this.#podman.output('inspect', '--format', '{{.State.ExitCode}}', this.#id);
    await this.#podman.output('rm', this.#id);
    return Number(code);
  }
}
