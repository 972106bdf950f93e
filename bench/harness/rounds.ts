/**
 * Contestants that do the same work in turns, so that whatever else the machine does meets all of them.
 *
 * Machines are shared and noisy: only ratios of one round are compared, and their median is what counts.
 */

/** Who takes part: a name, and one round of the work, which gives its figure or throws when the data was wrong. */
export interface Contestant {
  readonly name: string;
  round(): Promise<number>;
}

/** Figures of each contestant, a round each, in the order of the rounds. */
export type Figures = ReadonlyMap<string, readonly number[]>;

/** Milliseconds before each turn, in which what the one before has left under way comes to its end. */
const REST = 20;

/** Run `rounds` rounds, each in an order of its own, so that none always comes after the same one. */
export async function inTurns(contestants: readonly Contestant[], rounds: number): Promise<Figures> {
  const figures = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const contestant of shuffled(contestants)) {
      await new Promise((resolve) => setTimeout(resolve, REST));
      figures.get(contestant.name)?.push(await contestant.round());
    }
  }
  return figures;
}

function shuffled<T>(items: readonly T[]): T[] {
  const places = items.map((item) => ({ item, place: Math.random() }));
  return places.sort((a, b) => a.place - b.place).map(({ item }) => item);
}

/** The figure that as many are below as above, between the two middle ones where there are two. */
export function quantile(figures: readonly number[], at: number): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const place = (sorted.length - 1) * at;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

export const median = (figures: readonly number[]): number => quantile(figures, 0.5);

/** A ratio: its median over the rounds, and the quartiles as its spread. */
export interface Ratio {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/**
 * How many times as fast `name` is as `other`, round by round.
 *
 * @param costs Whether a figure is a cost, as milliseconds are, or a gain, as requests a second are.
 */
export function ratioOf(figures: Figures, name: string, other: string, costs: boolean): Ratio {
  const ours = figures.get(name) ?? [];
  const theirs = figures.get(other) ?? [];
  const ratios = ours.map((figure, round) => {
    const against = theirs[round] ?? Number.NaN;
    return costs ? against / figure : figure / against;
  });
  return { median: median(ratios), low: quantile(ratios, 0.25), high: quantile(ratios, 0.75) };
}
