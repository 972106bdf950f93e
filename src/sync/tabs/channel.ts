/**
 * The tabs of an origin, told of each other's changes.
 *
 * Only hints: whoever misses one finds out by the database.
 */
import { openChannel } from '../../core/platform.ts';

/** `changed`: what waits, or is kept; `online`: the server is there; `forgotten`: what was kept here is deleted. */
export type Message = 'changed' | 'online' | 'forgotten';

/** The other tabs. */
export interface Tabs {
  tell(message: Message): void;
  close(): void;
}

/** The tabs that share a name. */
export function createTabs(name: string, heard: (message: Message) => void): Tabs {
  const channel = openChannel(name);
  if (!channel) return { tell: () => {}, close: () => {} };
  channel.onmessage = ({ data }) => heard(data);
  return {
    tell(message) {
      try {
        channel.postMessage(message);
      } catch {
        // It is closed.
      }
    },
    close: () => channel.close(),
  };
}
