/**
 * What a bench found, as Markdown: for the terminal, and for docs/performance.md.
 */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { type Figures, median, type Ratio, ratioOf } from './rounds.ts';

/** A table of texts. */
export interface Table {
  readonly title: string;
  /** What a reader needs to know to read it. */
  readonly note?: string;
  readonly header: readonly string[];
  readonly rows: ReadonlyArray<readonly string[]>;
}

/** A target beside what was measured. */
export interface Verdict {
  readonly workload: string;
  readonly target: string;
  readonly measured: string;
  readonly met: boolean;
  /** Whether the run fails where it is not met. */
  readonly fails?: boolean;
}

/** What one bench found. */
export interface Section {
  readonly title: string;
  /** Programs and versions that took part, `name version` each. */
  readonly versions: readonly string[];
  readonly tables: readonly Table[];
  readonly verdicts: readonly Verdict[];
}

/** One workload, measured. */
export interface Measured {
  readonly workload: string;
  readonly figures: Figures;
  readonly targets?: readonly Target[];
}

/** Our figure is at least `atLeast` times as good as that of `than`; `best`: as that of the best of `among`. */
export interface Target {
  readonly than: string;
  readonly atLeast: number;
  /** For `best`: who counts as a peer. */
  readonly among?: readonly string[];
}

/** How the figures of a table are read. */
export interface Scale {
  /** The contestant that is ours. */
  readonly ours: string;
  readonly unit: string;
  /** Whether less is better. */
  readonly costs: boolean;
}

/** A table with our figures and, for each other contestant, how many times as fast ours is. */
export function ratioTable(
  title: string,
  others: readonly string[],
  measured: readonly Measured[],
  scale: Scale,
  note?: string,
): Table {
  return {
    title,
    ...(note !== undefined && { note }),
    header: ['Workload', `${scale.ours}, ${scale.unit}`, ...others],
    rows: measured.map(({ workload, figures }) => [
      workload,
      shown(median(figures.get(scale.ours) ?? [])),
      ...others.map((other) =>
        figures.has(other) ? spread(ratioOf(figures, scale.ours, other, scale.costs)) : '–',
      ),
    ]),
  };
}

/** The targets of a table, each met or not. */
export function verdictsOf(measured: readonly Measured[], scale: Scale): Verdict[] {
  return measured.flatMap(({ workload, figures, targets = [] }) =>
    targets.flatMap(({ than, atLeast, among = [] }): Verdict[] => {
      const peers = than === 'best' ? among.filter((name) => figures.has(name)) : [than];
      const ratios = peers.map((peer) => ({ peer, ...ratioOf(figures, scale.ours, peer, scale.costs) }));
      const [least] = ratios.sort((a, b) => a.median - b.median);
      if (least === undefined) return [];
      return [
        {
          workload,
          target: `≥ ${atLeast} × ${than === 'best' ? 'the best peer' : than}`,
          measured: `${spread(least)}${than === 'best' ? ` (${least.peer})` : ''}`,
          met: least.median >= atLeast,
        },
      ];
    }),
  );
}

/** A figure with three digits that count. */
export const shown = (figure: number): string =>
  figure >= 100 ? String(Math.round(figure)) : String(Number(figure.toPrecision(3)));

const spread = ({ median, low, high }: Ratio): string =>
  `**${shown(median)}** (${shown(low)}–${shown(high)})`;

/** A section as Markdown, with the machine and the day. */
export async function markdownOf(section: Section): Promise<string> {
  const { stdout: kernel } = await promisify(execFile)('uname', ['-sr']);
  const [cpu] = cpus();
  const machine = `${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${kernel.trim()}`;
  const day = new Date().toISOString().slice(0, 10);
  const verdicts: Table = {
    title: 'Targets',
    header: ['Workload', 'Target', 'Measured', 'Met'],
    rows: section.verdicts.map(({ workload, target, measured, met }) => [
      workload,
      target,
      measured,
      met ? 'yes' : '**no**',
    ]),
  };
  return [
    `## ${section.title}`,
    `${day}, ${machine}. ${['Node.js '.concat(process.versions.node), ...section.versions].join(', ')}.`,
    ...[...section.tables, ...(section.verdicts.length > 0 ? [verdicts] : [])].map(tableText),
  ].join('\n\n');
}

function tableText({ title, note, header, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const table = [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
  return [`### ${title}`, ...(note === undefined ? [] : [note]), table].join('\n\n');
}

/** Put a section between its marks in a document, in place of what was there. */
export async function putSection(path: string, name: string, markdown: string): Promise<void> {
  const text = await readFile(path, 'utf8');
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- end of bench:${name} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from)
    throw new Error(`${path} has no place for the bench ${name}: add ${begin} and ${end}`);
  await writeFile(path, `${text.slice(0, from + begin.length)}\n\n${markdown}\n\n${text.slice(to)}`);
}
