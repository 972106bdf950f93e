/**
 * podman over a folder of its own, also where it would refuse to run: on hybrid cgroups, without the right to raise limits, and
 * without systemd. It changes nothing on the machine: it runs in a mount namespace of its own. Containers share the network of the
 * machine.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How a program ended, and what it wrote. */
export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. Never rejects. */
export function ended(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  return new Promise((done) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => {
        texts[name] += text;
      });
    child.once('error', (error) => done({ status: null, stdout: '', stderr: error.message }));
    child.once('close', (status) => done({ status, ...texts }));
  });
}

/**
 * Runs a program to its end. Resolves with its output.
 *
 * @throws {Error} With what it wrote, when it fails.
 */
export async function succeeded(command: string, args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await ended(command, args);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

/** What podman would do with more rights: see containers.conf(5). */
const configuration = (maxFiles: string): string => `
[containers]
cgroups = "disabled"
netns = "host"
default_ulimits = ["nofile=${maxFiles}:${maxFiles}", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
`;

/** crun refuses a machine that has both versions of cgroups: the second is put aside. */
const SCRIPT = 'umount --lazy /sys/fs/cgroup/unified 2> /dev/null; exec podman "$@"';

/** podman, its images and its containers. */
export class Podman {
  /** For files of the tests; it goes with the rest. */
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #onExit = (): void => this.#removeNow();

  private constructor(folder: string) {
    this.folder = folder;
    const limit = spawnSync('bash', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).stdout.trim();
    writeFileSync(join(folder, 'containers.conf'), configuration(limit));
    for (const name of ['storage', 'run', 'tmp']) mkdirSync(join(folder, name));
    this.#env = {
      ...process.env,
      CONTAINERS_CONF: join(folder, 'containers.conf'),
      BUILDAH_ISOLATION: 'chroot',
    };
    process.once('exit', this.#onExit);
  }

  static async start(): Promise<Podman> {
    return new Podman(await mkdtemp(join(tmpdir(), 'codeforge-podman-')));
  }

  /** Runs podman with these arguments. Never rejects. */
  run(...args: readonly string[]): Promise<Ended> {
    const [command, all] = this.#command(args);
    return ended(command, all, this.#env);
  }

  /**
   * Runs podman with these arguments. Resolves with its output.
   *
   * @throws {Error} With what it wrote, when it fails.
   */
  async output(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(...args);
    if (status !== 0) throw new Error(`podman ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`);
    return stdout.trim();
  }

  /** Ends all containers, and removes everything. */
  async remove(): Promise<void> {
    process.off('exit', this.#onExit);
    await this.run('rm', '--all', '--force', '--time', '0');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }

  /** A test run that is cut off leaves nothing behind. */
  #removeNow(): void {
    const [command, args] = this.#command(['rm', '--all', '--force', '--time', '0']);
    spawnSync(command, args, { env: this.#env, stdio: 'ignore' });
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }

  #command(args: readonly string[]): [string, string[]] {
    const place = (name: string): string => join(this.folder, name);
    const options = ['--root', place('storage'), '--runroot', place('run'), '--tmpdir', place('tmp')];
    const podman = ['bash', '-c', SCRIPT, 'podman', ...options, '--storage-driver', 'overlay', ...args];
    return ['unshare', ['--mount', '--propagation', 'private', ...podman]];
  }
}
