import { startTypescriptServer } from '../support/typescript-server.ts';
import { level0 } from './level0.ts';
level0('TypeScript server', startTypescriptServer);
