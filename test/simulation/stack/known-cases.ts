/**
 * Faults that the SDK has had, each as a short script. The oracle finds what is broken.
 *
 * `fails` names what a case shows on the present code, and the promise that is broken. Whoever mends the fault removes it.
 * One case with its trace: `npm run simulate -- --case A1`.
 */

import {
  atomic,
  clear,
  get,
  getEntry,
  has,
  listKeys,
  ready,
  remove,
  set,
  setMany,
  update,
} from './operations.ts';
import type { Kind } from './oracle.ts';
import type { Script } from './run.ts';
import type { World, WorldOptions } from './world.ts';

/** A script that has a name. */
export interface KnownCase {
  readonly name: string;
  /** What is to hold. */
  readonly title: string;
  readonly play: Script;
  readonly options?: WorldOptions;
  /** What is broken on the present code, and the promise (docs/guarantees.md unless it says otherwise). */
  readonly fails?: { readonly kind: Kind; readonly promise: string };
}

/** A tab that is online, and a key that it has written. */
async function tabWith(world: World, key = 'k', value = 'v0') {
  const tab = await world.openOnline('a1');
  await world.do(tab, set(key, value));
  await world.wait(1000);
  return tab;
}

export const KNOWN_CASES: readonly KnownCase[] = [
  {
    name: 'A1',
    title: 'update() and set() in one turn, the answer to the update lost: the set arrives',
    async play(world) {
      const tab = await tabWith(world);
      world.network.breakAt('+f', 'lose-answer');
      await world.do(tab, update('k', '+f'), set('k', 'v'));
      await world.do(tab, get('k'));
    },
  },
  {
    name: 'A2 reads',
    title: 'the sync database deleted under an open tab: nothing is missing while the server is away',
    async play(world) {
      const tab = await tabWith(world);
      world.deleteSyncData(tab.device);
      await world.wait(1000);
      tab.device.network = 'lose-request';
      await world.do(tab, get('k'), listKeys);
    },
  },
  {
    name: 'A2 clear',
    title: 'the sync database deleted under an open tab: an acknowledged clear() has its effect',
    async play(world) {
      const tab = await tabWith(world);
      world.deleteSyncData(tab.device);
      await world.wait(1000);
      tab.device.network = 'lose-request';
      await world.do(tab, clear);
    },
  },
  {
    name: 'A3',
    title:
      'two deletes of a key in one turn, their answer lost, then a set: no conflict of a writer with itself',
    async play(world) {
      const tab = await tabWith(world);
      world.network.next(['lose-answer'], 'lose-request');
      await world.do(tab, remove('k'), remove('k'));
      await world.do(tab, set('k', 'v'));
    },
  },
  {
    name: 'A4 absent',
    title: 'a set on the condition that the key is missing, its refusal lost: it does not resolve',
    async play(world) {
      await world.server.put('k', 'other');
      const tab = await world.openOnline('a1');
      world.network.next(['lose-answer'], 'lose-request');
      await world.do(tab, set('k', 'v', 'absent'));
    },
  },
  {
    name: 'A4 seen',
    title:
      'a set and a conditional set of an older state in one turn, the request lost: the second does not resolve',
    async play(world) {
      const tab = await tabWith(world);
      await world.do(tab, getEntry('k'));
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'A'), set('k', 'B', 'seen'));
    },
  },
  {
    name: 'A5',
    title:
      'clear() and set() in one turn, the request lost, then clear() again: no conflict of a writer with itself',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'lose-request';
      await world.do(tab, clear, set('k', 'v'));
      await world.do(tab, clear);
    },
  },
  {
    name: 'A6',
    title: 'level 0: an edit of a value that JSON cannot hold, made while the server is away, arrives',
    options: { level: 0 },
    async play(world) {
      const tab = await world.openOnline('a1');
      await world.do(tab, set('k', { time: new Date(0), name: 'v0' }));
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', { time: new Date(1), name: 'v1' }));
    },
  },
  {
    name: 'A7',
    title: '/health answered 502 twice at the first contact: the server is of level 1 all the same',
    async play(world) {
      let times = 0;
      world.network.rules.push(({ path }) => (path === '/health' && times++ < 2 ? '502 html' : undefined));
      const tab = await world.open('a1');
      await world.do(tab, ready);
      await world.do(tab, set('a/b', 'v'));
    },
  },
  {
    name: 'A8 reason',
    title: 'status().reason says nothing of a pause that is over',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v1'));
      world.network.whenBodyHas('v1', '507 json');
      tab.device.network = 'deliver';
      await world.wait(10_000);
    },
  },
  {
    name: 'A8 disk',
    title: 'a disk that is full while the server acknowledges a set: no conflict of a writer with itself',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.disk.isFull = true;
      await world.do(tab, set('k', 'v1'));
      tab.device.disk.isFull = false;
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v2'));
    },
  },
  {
    name: 'A8 limit',
    title:
      'a database that does not open, and requests without an answer: a call has one limit, not one for each step',
    async play(world) {
      const tab = await world.open('a1');
      tab.device.disk.isBlocked = true;
      tab.device.network = 'silent-request';
      await world.do(tab, set('k', 'v'));
    },
  },
  {
    name: 'A9',
    title: 'a proxy answers one write with a 403 page: later writes are not affected',
    async play(world) {
      const tab = await tabWith(world);
      world.network.whenBodyHas('bad', '403 html');
      await world.do(tab, set('k', 'bad'));
    },
  },
  ...(['500 json', '400 html', '403 html', '422 json', '503 html', 'lose-request'] as const).map(
    (fate): KnownCase => ({
      name: `A10 ${fate.split(' ')[0]}`,
      title: `a write that is always answered ${fate}: all others arrive`,
      async play(world) {
        const tab = await tabWith(world);
        tab.device.network = 'lose-request';
        await world.do(tab, set('b', 'bad'));
        await world.do(tab, setMany({ c: 'c1', d: 'd1' }));
        world.network.whenBodyHas('bad', fate);
        tab.device.network = 'deliver';
        await world.wait(300_000);
        const arrived = world.server.content();
        world.expect(
          arrived.has('c') && arrived.has('d'),
          'not recovered',
          'after 300 s the others still wait',
        );
        const { pending } = tab.storage.status();
        world.expect(
          pending === 0,
          'not recovered',
          `after 300 s there are still ${pending} writes in the outbox`,
        );
      },
    }),
  ),
  ...(['500 json', '503 html', 'lose-request'] as const).map(
    (fate): KnownCase => ({
      name: `A10 many ${fate.split(' ')[0]}`,
      title: `10 of 50 writes are always answered ${fate}: all others arrive before one of them is sent alone again`,
      async play(world) {
        const tab = await tabWith(world);
        tab.device.network = 'lose-request';
        for (let i = 0; i < 50; i++) await world.do(tab, set(`k${i}`, i % 5 === 2 ? `bad${i}` : `v${i}`));
        const sentAlone = new Map<string, Set<string>>();
        let arrived: number | undefined;
        world.network.rules.push(({ text }) => {
          const batch = text.includes('"value":"bad') ? JSON.parse(text) : undefined;
          if (!batch) return undefined;
          const [{ value }] = batch.ops;
          const clients = sentAlone.get(value) ?? new Set();
          if (batch.ops.length === 1) sentAlone.set(value, clients.add(batch.client));
          if (clients.size > 1)
            arrived ??= [...world.server.content().values()].filter((one) => /^v\d/.test(String(one))).length;
          return fate;
        });
        tab.device.network = 'deliver';
        await world.wait(600_000);
        // Besides the write that the tab has begun with.
        world.expect(arrived === 41, 'not recovered', `${arrived} of 41 have arrived before`);
        const { pending, conflicts } = tab.storage.status();
        world.expect(
          pending === 0 && conflicts === 10,
          'not recovered',
          `after 600 s there are ${pending} writes in the outbox, and ${conflicts} conflicts`,
        );
      },
    }),
  ),
  {
    name: 'A11',
    title: 'a tab that is suspended while it holds the lock: other tabs are served',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v1'));
      tab.device.network = 'deliver';
      await world.until('lock', () => tab.device.locks?.isHeldBy(tab.tab) ?? false);
      tab.tab.freeze();
      const other = await world.open('a2');
      await world.do(other, ready, set('k', 'v2'), get('k'));
    },
  },
  {
    name: 'A12',
    title: 'a tab that is suspended inside a transaction: other tabs are served',
    async play(world) {
      const tab = await tabWith(world);
      const other = await world.openOnline('a2');
      tab.device.network = 'lose-request';
      tab.turn(setMany(Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`n${i}`, `n${i}`]))));
      await world.until('transaction', () => world.disks.isWriting(tab.tab));
      tab.tab.freeze();
      tab.device.network = 'deliver';
      await world.do(other, get('k'), has('k'));
      await world.do(other, set('o', 'v2'), get('o'));
    },
  },
  {
    name: 'S1',
    title:
      'a write that was rejected with timeout and arrives late: it does not replace a later acknowledged write',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'slow';
      const calls = tab.turn(set('k', 'v1'));
      await world.wait(5000);
      // The write cannot be kept on the disk, so it is rejected.
      tab.device.disk.isFull = true;
      await world.settle(calls);
      tab.device.disk.isFull = false;
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v2'));
    },
  },
  {
    name: 'S2',
    title: 'a server that refuses everybody: a call ends within its one limit',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = '401 html';
      await world.do(tab, update('k', '+u'));
    },
  },
  {
    name: 'S3',
    title: 'a conditional set whose answer is lost, then clear(): the clear deletes it',
    async play(world) {
      const tab = await tabWith(world);
      await world.do(tab, getEntry('k'));
      world.network.next(['lose-answer'], 'lose-request');
      await world.do(tab, set('k', 'v1', 'seen'));
      await world.do(tab, clear);
    },
  },
  {
    name: 'S31',
    title:
      'a conditional set whose answer is lost, then a set while the server is away: it is no conflict with the first one',
    async play(world) {
      const tab = await tabWith(world, 'k', 'v0');
      await world.do(tab, getEntry('k'));
      world.network.next(['lose-answer'], 'lose-request');
      await world.do(tab, set('k', 'v1', 'seen'));
      await world.do(tab, set('k', 'v2'));
    },
  },
  {
    name: 'S4',
    title:
      'a disk that is full when the server is met for the first time: later nothing is missing while the server is away',
    async play(world) {
      world.device('a').disk.isFull = true;
      const tab = await world.openOnline('a1');
      await world.do(tab, set('k', 'v'));
      tab.device.disk.isFull = false;
      await world.wait(60_000);
      tab.device.network = 'lose-request';
      await world.do(tab, get('k'));
    },
  },
  {
    name: 'S5',
    title: 'a power cut after a write has become a conflict: its value is kept, also if it is large',
    async play(world) {
      const tab = await world.openOnline('a1');
      const other = await world.openOnline('b1');
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'a#'));
      await world.do(other, set('k', 'b'));
      tab.device.network = 'deliver';
      await world.wait(10_000);
      world.cutPower(tab.device, true);
    },
  },
  {
    name: 'S6',
    title:
      'a value of the mirror that cannot be read after a power cut: the tab does not connect again and again',
    async play(world) {
      const tab = await world.openOnline('a1');
      await world.do(tab, set('k', 'v#'));
      world.cutPower(tab.device, true);
      await world.openOnline('a2');
      await world.wait(60_000);
      const requests = world.network.arrivals.length;
      world.expect(requests < 50, 'not recovered', `${requests} requests in a minute`);
    },
  },
  {
    name: 'S7',
    title:
      'two sets on the condition that the key is missing in one turn, the first in doubt: the second does not replace it',
    async play(world) {
      const tab = await world.openOnline('a1');
      world.network.next(['lose-answer'], 'lose-request');
      await world.do(tab, set('k', 'A', 'absent'), set('k', 'B', 'absent'));
    },
  },
  {
    name: 'S8',
    title: 'a database that fails at the first contact: later nothing is missing while the server is away',
    async play(world) {
      await world.server.put('k', 'v');
      world.device('a').disk.failures = 100;
      const tab = await world.open('a1');
      await world.do(tab, get('other'));
      tab.device.disk.failures = 0;
      tab.device.network = 'lose-request';
      await world.do(tab, get('k'), listKeys);
    },
  },
  {
    name: 'S9',
    title:
      'writes of one turn of which the server refuses a later request: the others may be stored all the same',
    async play(world) {
      const tab = await world.openOnline('a1');
      world.network.next(['deliver', '401 json', 'deliver']);
      await world.do(
        tab,
        set('l', 'v1', 'absent'),
        setMany({ k: 'v2', l: 'v3' }),
        set('k', 'v4', 'absent'),
        get('k'),
      );
    },
  },
  {
    name: 'S10',
    title: "ack: 'local' and a server without answers: calls that read first have one limit together",
    options: { storage: { ack: 'local' } },
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'silent-request';
      await world.do(tab, update('k', '+u'), get('l'));
    },
  },
  {
    name: 'S11',
    title: 'the sync database deleted after a write has become a conflict: the conflict is lost with it',
    async play(world) {
      const tab = await world.openOnline('a1');
      const other = await world.openOnline('b1');
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'a'));
      await world.do(other, set('k', 'b'));
      tab.device.network = 'deliver';
      await world.wait(10_000);
      world.deleteSyncData(tab.device);
    },
  },
  {
    name: 'S12',
    title:
      'a set on the condition that the key is missing, refused without the current value: it does not resolve',
    async play(world) {
      const tab = await world.openOnline('a1');
      await world.server.put('k', 'other');
      world.network.next(['lose-answer', 'deliver'], 'lose-request');
      await world.do(tab, set('k', 'v', 'absent'));
    },
  },
  {
    name: 'S13',
    title: 'a tab that is suspended while it reads: after that it reads its own writes',
    options: { storage: { ack: 'local' } },
    async play(world) {
      const tab = await tabWith(world);
      await world.do(tab, set('k', 'v1'));
      for (const _ of [1, 2]) {
        await world.until('transaction', () => world.disks.isWriting(tab.tab));
        tab.tab.freeze();
        await world.wait(20_000);
        tab.tab.thaw();
        tab.turn(get('k'));
      }
      await world.settle();
    },
  },
  {
    name: 'S14',
    title: 'a value of the mirror that cannot be read after a power cut: a queued write of its key arrives',
    async play(world) {
      const tab = await tabWith(world, 'k', 'v#');
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v2'));
      world.cutPower(tab.device, true);
    },
  },
  {
    name: 'S15',
    title:
      'a power cut after an earlier write of a key was settled: the later one is kept, also if it is large',
    async play(world) {
      const tab = await world.openOnline('a1');
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'a#'));
      world.network.whenBodyHas('a#', 'silent-answer');
      world.network.whenBodyHas('b#', 'lose-request');
      tab.device.network = 'deliver';
      await world.until('request', () =>
        world.network.arrivals.some(({ request }) => request.text.includes('a#')),
      );
      await world.do(tab, set('k', 'b#'));
      // The first one is given up, and found to be applied. The second one is not sent yet.
      await world.wait(9000);
      world.cutPower(tab.device, true);
    },
  },
  {
    name: 'S16',
    title: 'a server without room for a queued write: reads and writes of its key go to the outbox',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v1'));
      world.network.whenBodyHas('v1', '507 json');
      tab.device.network = 'deliver';
      await world.wait(10_000);
      await world.do(tab, get('k'), update('k', '+u'), get('k'));
    },
  },
  {
    name: 'S17',
    title: 'a write whose answer is lost, and which is then refused: what it came to counts',
    async play(world) {
      const tab = await tabWith(world);
      world.network.next(['lose-answer', '413 json']);
      await world.do(tab, set('k', 'v1'));
    },
  },
  {
    name: 'S18',
    title: 'a conflict of a restored server with a large value: it is kept after a power cut',
    async play(world) {
      const tab = await world.openOnline('a1');
      const backup = world.reference.backUp();
      await world.do(tab, set('k', 'v#'));
      world.reference.restore(backup);
      await world.wait(60_000);
      world.cutPower(tab.device, true);
    },
  },
  {
    name: 'S19',
    title: 'two devices update a key at the same time: no step is lost',
    async play(world) {
      const tab = await tabWith(world);
      const other = await world.openOnline('b1');
      const calls = [...tab.turn(update('k', '+a')), ...other.turn(update('k', '+b'))];
      await world.settle(calls);
    },
  },
  {
    name: 'S20',
    title:
      'a server that is restored while a tab is open: what it has lost is a conflict, and nothing is read that it has not',
    async play(world) {
      const tab = await tabWith(world);
      const backup = world.reference.backUp();
      await world.do(tab, set('k', 'v1'), set('l', 'v2'));
      world.reference.restore(backup);
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v3'));
      tab.device.network = 'deliver';
      await world.wait(10_000);
      await world.do(tab, get('k'), get('l'));
    },
  },
  {
    name: 'S21',
    title: 'a clear() and a delete of another device: nothing of them is read while the server is away',
    async play(world) {
      const tab = await tabWith(world);
      await world.do(tab, set('l', 'v1'));
      const other = await world.openOnline('b1');
      await world.do(other, clear);
      await world.do(other, set('m', 'v2'));
      await world.wait(61_000);
      tab.device.network = 'lose-request';
      await world.do(tab, get('k'), get('l'), listKeys);
    },
  },
  {
    name: 'S22',
    title: 'a tab that is closed with a queued write: the next tab sends it without a call',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v1'));
      tab.tab.crash();
      tab.device.network = 'deliver';
      await world.openOnline('a2');
      await world.wait(10_000);
      world.expect(world.server.content().get('k') === 'v1', 'not recovered', 'the queued write is not sent');
    },
  },
  {
    name: 'S23',
    title: 'two tabs queue writes at the same time: both are kept',
    async play(world) {
      const tab = await tabWith(world);
      const other = await world.openOnline('a2');
      tab.device.network = 'lose-request';
      await world.do(tab, get('k'));
      await world.do(other, get('k'));
      const calls = [
        ...tab.turn(update('k', '+a'), set('l', 'v1')),
        ...other.turn(update('k', '+b'), set('m', 'v2')),
      ];
      await world.settle(calls);
    },
  },
  {
    name: 'S24',
    title: 'silent requests: calls that follow each other do not each wait for the server',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'silent-request';
      const calls = tab.turn(get('k'));
      await world.wait(1);
      calls.push(...tab.turn(listKeys, get('l')));
      await world.wait(1);
      calls.push(...tab.turn(listKeys, update('k', '+u')));
      await world.settle(calls);
    },
  },
  {
    name: 'S25',
    title: 'a power cut after a large write was queued: it is kept',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'a#'));
      world.cutPower(tab.device, true);
    },
  },
  {
    name: 'S26',
    title: 'a queued write that the server has no room for, while another device writes its key: a conflict',
    async play(world) {
      const tab = await tabWith(world);
      const other = await world.openOnline('b1');
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'a1'));
      await world.do(other, set('k', 'b1'));
      world.network.whenBodyHas('a1', '507 json');
      tab.device.network = 'deliver';
      // The mirror has the value of the other device by now.
      await world.wait(61_000);
      world.network.heal();
      await world.wait(61_000);
    },
  },
  {
    name: 'S27',
    title: 'a queued delete, and another device that writes the key meanwhile: a conflict',
    async play(world) {
      const tab = await tabWith(world);
      const other = await world.openOnline('b1');
      tab.device.network = 'lose-request';
      await world.do(tab, remove('k'));
      await world.do(other, set('k', 'b1'));
      tab.device.network = 'deliver';
      await world.wait(10_000);
    },
  },
  {
    name: 'S28',
    title:
      'a queued atomic unit, and another device that writes one of its keys meanwhile: nothing of it is stored',
    async play(world) {
      const tab = await tabWith(world);
      const other = await world.openOnline('b1');
      tab.device.network = 'lose-request';
      await world.do(tab, atomic({ k: 'a1', l: 'a2' }));
      await world.do(other, set('k', 'b1'));
      tab.device.network = 'deliver';
      await world.wait(10_000);
    },
  },
  {
    name: 'S29',
    title:
      'a set on the condition that the key is missing, its refusal lost, by a device that does not know the key: it does not resolve',
    async play(world) {
      const tab = await world.openOnline('a1');
      await world.server.put('k', 'other');
      world.network.next(['lose-answer'], 'lose-request');
      await world.do(tab, set('k', 'v', 'absent'));
    },
  },
  {
    name: 'A14',
    title: 'a browser that forbids IndexedDB: the server serves all calls',
    async play(world) {
      world.device('a').disk.isForbidden = true;
      const tab = await world.open('a1');
      await world.do(tab, set('k', 'v'), get('k'));
      world.expect(world.server.content().has('k'), 'not recovered', 'set() did not reach the server');
    },
  },
  {
    name: 'S30',
    title:
      'a set in doubt that the full disk has no room for, then clear(): the clear() deletes what the set has stored',
    async play(world) {
      const tab = await tabWith(world);
      world.network.next(['lose-answer'], 'lose-request');
      tab.device.disk.isFull = true;
      await world.do(tab, set('k', 'v1'));
      tab.device.disk.isFull = false;
      await world.do(tab, clear);
    },
  },
  {
    name: 'S31',
    title:
      'clear() and a set on the condition that the key is missing, their answer lost, then clear(): it deletes what the set has stored',
    async play(world) {
      const tab = await tabWith(world);
      world.network.next(['lose-answer'], 'lose-request');
      await world.do(tab, clear, set('k', 'v1', 'absent'));
      await world.do(tab, clear);
    },
  },
  {
    name: 'S32',
    title:
      'a write that waits, and another device that clears the store: listeners are not told that the key is gone',
    async play(world) {
      const tab = await tabWith(world);
      const other = await world.openOnline('b1');
      tab.watch('k');
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'a1'));
      world.network.whenBodyHas('a1', '507 json');
      await world.do(other, clear);
      tab.device.network = 'deliver';
      await world.wait(40_000);
      const told = tab.listeners.flatMap(({ heard }) => heard.map(({ type }) => type));
      world.expect(told.lastIndexOf('set') === told.length - 1, 'false missing', `k is told: ${told}`);
      world.network.heal();
      await world.wait(61_000);
    },
  },
  {
    name: 'S33',
    title:
      'a set whose answer the full disk has no room for, then clear() while the server is away: it deletes what the set has stored',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.disk.isFull = true;
      await world.do(tab, set('k', 'v1'));
      tab.device.network = 'lose-request';
      tab.device.disk.isFull = false;
      await world.do(tab, clear);
    },
  },
  {
    name: 'S34',
    title:
      'a queued set that is sent while the disk is full, replaced before its answer when there is room: no conflict with itself',
    async play(world) {
      const tab = await tabWith(world);
      tab.device.network = 'lose-request';
      await world.do(tab, set('k', 'v1'));
      tab.device.disk.isFull = true;
      tab.device.network = 'deliver';
      await world.until('request', () =>
        world.network.arrivals.some(({ request }) => request.text.includes('v1')),
      );
      tab.device.disk.isFull = false;
      await world.do(tab, set('k', 'v2'));
    },
  },
  {
    name: 'S35',
    title:
      'acknowledged writes that the server refuses for good: they are in conflicts(), and reads and updates find the state before them',
    options: { storage: { ack: 'local' } },
    async play(world) {
      const tab = await tabWith(world);
      world.network.whenBodyHas('refused', '413 json');
      await world.do(tab, set('k', 'refused'), atomic({ l: 'refused too' }));
      await world.wait(1000);
      await world.do(tab, get('k'), get('l'), update('k', '+1'));
      const reasons = (await world.result(tab.storage.conflicts())).map(
        ({ key, reason }) => `${key} ${reason}`,
      );
      world.expect(`${reasons}` === 'k rejected,l rejected', 'lost', `conflicts(): ${reasons}`);
    },
  },
];
