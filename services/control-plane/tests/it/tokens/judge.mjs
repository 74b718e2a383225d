// openid-client gets an access token by RFC 8414, RFC 8705 and RFC 6749 and has it introspected; jose verifies it by the published keys.
// Arguments: issuer, address that stands for its host, a service's and a worker's certificate, key and id, root.
import { readFileSync } from 'node:fs';
import { X509Certificate, createHash } from 'node:crypto';
import https from 'node:https';
import { strict as assert } from 'node:assert';

const library = (path) => import(`${process.env.OAUTH_CLIENT}/${path}`);
const client = await library('openid-client/build/index.js');
const jose = await library('jose/dist/webapi/index.js');
const [issuer, host, root, ...parties] = process.argv.slice(2);
const [worker, service] = [parties.slice(0, 3), parties.slice(3, 6)];

// The issuer's name leads nowhere here.
const fetchAs = ([cert, key]) => (url, options = {}) =>
  new Promise((resolve, reject) => {
    const { pathname, search } = new URL(url);
    const [hostname, port] = host.split(':');
    const headers = Object.fromEntries(new Headers(options.headers));
    const files = cert ? { cert: readFileSync(cert), key: readFileSync(key) } : {};
    const request = { hostname, port, path: pathname + search, method: options.method ?? 'GET', headers, ca: readFileSync(root), ...files };
    const sent = https.request(request, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve(new Response(Buffer.concat(chunks), { status: answer.statusCode, headers: answer.headers })));
    });
    sent.on('error', reject);
    sent.end(options.body ? options.body.toString() : undefined);
  });

const discover = (party) =>
  client.discovery(new URL(issuer), party[2], undefined, client.TlsClientAuth(), { algorithm: 'oauth2', [client.customFetch]: fetchAs(party) });

const config = await discover(worker);
const metadata = config.serverMetadata();
assert.equal(metadata.tls_client_certificate_bound_access_tokens, true);
const tokens = await client.clientCredentialsGrant(config, { audience: 'jobs', scope: 'jobs:submit' });
assert.equal(tokens.scope, 'jobs:submit');
assert.equal(tokens.token_type, 'bearer');

const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri), { [jose.customFetch]: fetchAs([]) });
const verify = (audience) =>
  jose.jwtVerify(tokens.access_token, keys, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'], requiredClaims: ['sub', 'exp', 'jti', 'client_id', 'iat'] });
const { payload } = await verify('jobs');
await assert.rejects(verify('reports'), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' });
const thumbprint = createHash('sha256').update(new X509Certificate(readFileSync(worker[0])).raw).digest('base64url');
assert.equal(payload.cnf['x5t#S256'], thumbprint);

const seen = await client.tokenIntrospection(await discover(service), tokens.access_token);
assert.equal(seen.active, true);
assert.equal(seen.client_id, worker[2]);
await assert.rejects(client.clientCredentialsGrant(config, { audience: 'billing' }), { error: 'invalid_target' });
await assert.rejects(client.clientCredentialsGrant(config, { audience: 'jobs', scope: 'jobs:read' }), { error: 'invalid_scope' });
console.log(tokens.access_token);
