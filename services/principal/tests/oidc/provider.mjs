// A real OpenID Connect provider on a free port of 127.0.0.1; prints its issuer. Everybody may sign in under any name;
// those named sre-… are in the group sre. Ends with its standard input.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

const { default: Provider } = await import(process.env.OIDC_PROVIDER);

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwk = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test' };
const account = (name) => ({
  accountId: name,
  claims: () => ({ sub: name, email: `${name}@example.com`, groups: [name.startsWith('sre-') ? 'sre' : 'guests'] }),
});
const client = {
  client_id: 'signet',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', DEVICE],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client],
    jwks: { keys: [jwk] },
    cookies: { keys: ['only for tests'] },
    features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
    claims: { openid: ['sub'], email: ['email'], groups: ['groups'] },
    scopes: ['openid', 'email', 'groups'],
    // The claims of the scopes go into the ID token.
    conformIdTokenClaims: false,
    findAccount: (_, name) => account(name),
    ttl: { DeviceCode: 60, IdToken: 300 },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
process.stdin.on('end', () => process.exit()).resume();
