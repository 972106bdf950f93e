/** Supabase's client keeps its session in `auth.storage`. https://supabase.com/docs/reference/javascript/initializing */
import { createClient } from '@supabase/supabase-js';
import { expect, it } from 'vitest';
import { asAsyncStorage } from '../../src/adapters/index.ts';
import type { KeyValueStorage } from '../../src/index.ts';
import { onEachBackend } from './backends.ts';

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const user = {
  id: 'b1d1',
  aud: 'authenticated',
  email: 'ada@example.com',
  app_metadata: {},
  user_metadata: {},
};
const expires = Math.floor(Date.now() / 1000) + 3600;
const accessToken = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user.id, exp: expires })}.c2lnbmVk`;

/** Answers as Supabase does to a login and a logout. Everything else fails, as without a network. */
async function supabase(input: RequestInfo | URL): Promise<Response> {
  const { pathname } = new URL(input instanceof Request ? input.url : input);
  if (pathname === '/auth/v1/token')
    return Response.json({
      access_token: accessToken,
      refresh_token: 'again',
      token_type: 'bearer',
      expires_in: 3600,
      expires_at: expires,
      user,
    });
  if (pathname === '/auth/v1/logout') return new Response(null, { status: 204 });
  throw new TypeError(`No network: ${pathname}`);
}

/** A client that has read its session: it does so by itself, and nobody can wait for that otherwise. */
async function open(storage: KeyValueStorage, prefix = 'auth:') {
  const client = createClient('http://project.example', 'key', {
    auth: { storage: asAsyncStorage(storage, { prefix }), autoRefreshToken: false, persistSession: true },
    global: { fetch: supabase },
  });
  await new Promise<void>((resolve) => {
    client.auth.onAuthStateChange((event) => event === 'INITIAL_SESSION' && resolve());
  });
  return client;
}

onEachBackend((reopen) => {
  it('a client that is created again has the session of before, without a request; signOut() deletes it', async () => {
    const before = await open(await reopen());
    const login = await before.auth.signInWithPassword({ email: user.email, password: 'secret' });
    expect(login.error).toBeNull();

    const storage = await reopen();
    expect(await storage.keys({ prefix: 'auth:sb-project-auth-token' })).toHaveLength(1);
    const after = await open(storage);
    const { data } = await after.auth.getSession();
    expect(data.session).toMatchObject({ access_token: accessToken, user: { email: user.email } });
    const other = await open(storage, 'other:');
    expect(await other.auth.getSession()).toMatchObject({ data: { session: null }, error: null });

    expect(await after.auth.signOut({ scope: 'local' })).toEqual({ error: null });
    expect(await storage.keys()).toEqual([]);
    const again = await open(await reopen());
    expect((await again.auth.getSession()).data.session).toBeNull();
  });
});
