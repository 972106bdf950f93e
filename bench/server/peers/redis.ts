/** Redis, which has every write on the disk before it answers, behind webdis, which speaks HTTP. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../../test/support/ports.ts';
import { type RunningServer, startServer } from '../../../test/support/running-server.ts';

/** Start both. Rejects where one of them is not installed. */
export async function startRedis(): Promise<RunningServer & { readonly pids: readonly number[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-redis-'));
  const redisPort = await freePort();
  const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', ''];
  const redis = spawn(
    'redis-server',
    ['--bind', '127.0.0.1', '--port', String(redisPort), '--dir', folder, ...durable],
    { stdio: 'ignore' },
  );
  const killRedis = (): boolean => redis.kill('SIGKILL');
  process.once('exit', killRedis);
  const ended = once(redis, 'close');
  async function stop(): Promise<void> {
    killRedis();
    await ended;
    process.off('exit', killRedis);
    await rm(folder, { recursive: true });
  }
  try {
    const port = await freePort();
    const config = join(folder, 'webdis.json');
    await writeFile(config, JSON.stringify(webdisConfig(redisPort, port, folder)));
    const webdis = await startServer('webdis', [config], { port });
    return {
      ...webdis,
      pids: [webdis.pid, redis.pid ?? -1],
      async stop() {
        const code = await webdis.stop();
        await stop();
        return code;
      },
      async kill() {
        await webdis.kill();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function webdisConfig(redisPort: number, port: number, folder: string): Record<string, unknown> {
  return {
    redis_host: '127.0.0.1',
    redis_port: redisPort,
    http_host: '127.0.0.1',
    http_port: port,
    http_max_request_size: 1024 * 1024,
    threads: 2,
    pool_size: 10,
    daemonize: false,
    database: 0,
    verbosity: 1,
    logfile: join(folder, 'webdis.log'),
  };
}
