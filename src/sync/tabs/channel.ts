/**
 * Messages between the tabs of an origin about their changes.
 *
 * They are hints: a tab that misses one sees the change in the database.
 */
import { onAway, openChannel, post } from '../../core/platform.ts';

/**
 * `changed`: the outbox or the conflicts; `online`: the server answers; `forgotten`: this device's data was deleted; `following`: the
 * sender follows the server's change feed.
 */
export type Message = 'changed' | 'online' | 'forgotten' | 'following';

/** The other tabs. */
export interface Tabs {
  tell(message: Message): void;
  close(): void;
}

/** The tabs that share a name. */
export function createTabs(name: string, heard: (message: Message) => void): Tabs {
  let channel = openChannel(name, heard);
  const stop = onAway(
    () => channel?.close(),
    () => {
      channel = openChannel(name, heard);
      // Messages were missed.
      heard('changed');
    },
  );
  return {
    tell: (message) => post(channel, message),
    close() {
      stop();
      channel?.close();
    },
  };
}
