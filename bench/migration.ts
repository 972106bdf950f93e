/**
 * Migration beside a loop of one `get` and one request per key: keys a second, and the memory of the page.
 *
 * From IndexedDB of a real Chromium, its profile on disk, to the reference server with SQLite on disk, and back into an empty
 * database. Fails when a key is lost or changed on the way.
 */
import { bundlePage } from './browser/bundle.ts';
import { withChromium } from './browser/chromium.ts';
import { serveFiles } from './browser/serve.ts';
import { versionsOf } from './browser/versions.ts';
import { type Section, shown, type Verdict } from './harness/report.ts';
import { type Load, type Migrated, thereAndBack } from './migration/there-and-back.ts';

/** MB of JavaScript heap above idle that a migration may need. */
const HEAP_LIMIT = 64;

const NOTE = `The profile of Chromium and the server’s SQLite are on disk; the page and the server have different origins. Each entry that was migrated is read back
by the library, and once more by the bench. The loop, of the first keys, does not read back: \`get\` of idb-keyval and a \`PUT\`, or a \`GET\` and \`set\` of idb-keyval, each awaited;
before each \`PUT\` the browser asks the server (CORS). Memory is what the page needs at most above idle, in MB: of the JavaScript heap while garbage is collected every second, seen
right after it (live) and at any time (used), and of its process (resident).`;

const LOADS: readonly Load[] = [
  { size: '200 B', count: 1_000_000, each: 10_000 },
  { size: '1 KB', count: 100_000, each: 10_000 },
];
const QUICK_LOADS: readonly Load[] = [
  { size: '200 B', count: 3000, each: 50 },
  { size: '1 KB', count: 1000, each: 50 },
];

export async function benchMigration(quick: boolean): Promise<Section> {
  const migrated: Migrated[] = [];
  let version = '';
  const files = await serveFiles(
    await bundlePage('migration', `import { install } from '../migration/page.ts'; install();`),
  );
  try {
    for (const load of quick ? QUICK_LOADS : LOADS)
      await withChromium(async (chromium) => {
        version = chromium.version;
        migrated.push(...(await thereAndBack(load, chromium, `${files.url}/migration/`)));
      });
  } finally {
    await files.close();
  }
  return {
    title: 'Migration',
    versions: [version, ...(await versionsOf(['idb-keyval']))],
    tables: [
      {
        title: 'Migration, and a loop of one request per key',
        note: NOTE.replaceAll('\n', ' '),
        header: ['Keys', 'Seconds', 'Keys/s', 'Loop, keys/s', 'Ratio', 'Live', 'Used', 'Resident'],
        rows: migrated.map((one) => [
          nameOf(one),
          shown(one.ms / 1000),
          shown(rateOf(one)),
          shown(eachRateOf(one)),
          `**${shown(rateOf(one) / eachRateOf(one))}**`,
          ...[one.peak.live, one.peak.used, one.peak.resident].map((megabytes) => `+${shown(megabytes)}`),
        ]),
      },
    ],
    verdicts: migrated.map(
      (one): Verdict => ({
        workload: nameOf(one),
        target: `live within ${HEAP_LIMIT} MB of idle`,
        measured: `+${shown(one.peak.live)} MB`,
        met: one.peak.live <= HEAP_LIMIT,
        fails: true,
      }),
    ),
  };
}

const nameOf = ({ load: { size, count }, direction }: Migrated): string =>
  `${count.toLocaleString('en')} of ${size}, ${direction}`;
const rateOf = ({ load, ms }: Migrated): number => (load.count / ms) * 1000;
const eachRateOf = ({ load, eachMs }: Migrated): number => (load.each / eachMs) * 1000;
