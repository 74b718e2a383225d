// An identity of Signet in a folder: enrolls, renews when the control plane says so, and has gRPC clients.
//
// Keys are made here and stay here. One process at a time has the folder: two that renew one certificate look like a
// victim and its thief, and the control plane locks out both (CLONE_DETECTED).
import crypto from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const PROTO = process.env.SIGNET_PROTO ?? fileURLToPath(new URL('../../proto', import.meta.url));
// Read and compiled at run time: there is no generated code.
const api = grpc.loadPackageDefinition(
  protoLoader.loadSync(['signet/v1/certificates.proto', 'signet/v1/principals.proto'], {
    includeDirs: [PROTO], keepCase: true, longs: Number, enums: String, defaults: true,
  }),
).signet.v1;
// What `grpc-status-details-bin` holds, as far as it matters here.
const rpc = protobuf.parse(`syntax = "proto3";
  message Status { repeated Any details = 3; }
  message Any { string type_url = 1; bytes value = 2; }
  message ErrorInfo { string reason = 1; }
  message RetryInfo { Duration delay = 1; }
  message Duration { int64 seconds = 1; }`, { keepCase: true }).root;

const MILLIS = 10_000;
const PASSING = new Set([
  grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED, grpc.status.RESOURCE_EXHAUSTED, grpc.status.ABORTED,
]);
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';

/** A failure; `reason` is one of proto/REASONS.md, or the name of a TLS alert. */
export class SignetError extends Error {
  exitCode = 1;
  constructor(reason, text, retryAfter = 0) {
    super(`${reason}: ${text}${retryAfter ? ` (again in ${retryAfter} s)` : ''}`);
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}
/** Something is missing or in the way on this machine. */
export class Misused extends SignetError { exitCode = 2; }
/** The control plane said no. Asking again does not help. */
export class Refused extends SignetError { exitCode = 4; }
/** The server is not the one that the anchors are for. */
export class Untrusted extends SignetError { exitCode = 4; }
/** No answer, or one that says: later. `retryAfter` in seconds. */
export class Unavailable extends SignetError { exitCode = 6; }

export class Identity {
  #server; #firstAnchors; #folder; #tokenFile; #lock; #key; #leaf; #confirmed; #failures; #place;
  #due; #askAt; #retryAt;
  // How far the control plane's clock is ahead, milliseconds.
  #ahead = 0;

  constructor(server, anchors, folder, tokenFile) {
    this.#server = new URL(server);
    [this.#firstAnchors, this.#folder, this.#tokenFile] = [anchors, folder, tokenFile];
  }

  /** Takes up what is in the folder, or enrolls. */
  async open() {
    fs.mkdirSync(this.#folder, { mode: 0o700, recursive: true });
    await this.#takeLock();
    if (fs.existsSync(this.#path('identity.pem'))) this.#takeUp();
    else await this.#enroll();
  }

  /** What is due for the certificate; call it every few seconds. */
  async keep() {
    if (this.#expired()) {
      if (this.#clock() < this.#retryAt) {
        throw new Unavailable('CERTIFICATE_EXPIRED', 'the next try to renew it out of band is not due yet');
      }
      return this.renew();
    }
    if (!this.#confirmed) await this.#confirm();
    if (this.#clock() >= this.#askAt) await this.#ask();
    if (this.#clock() >= Math.max(this.#due, this.#retryAt)) await this.renew();
  }

  /** A call of one of `clients`, with its failures as errors of this module. */
  async call(client, method, request) {
    const deadline = Date.now() + MILLIS;
    const answer = await new Promise((resolve) => {
      client[method](request, { deadline }, (failure, found) => resolve({ failure, found }));
    });
    if (!answer.failure) return answer.found;
    const { code, details: text } = answer.failure;
    const details = answer.failure.metadata?.get('grpc-status-details-bin')[0];
    const { reason, retryAfter } = details ? told(details) : {};
    if (!PASSING.has(code)) throw new Refused(reason ?? grpc.status[code], text);
    if (!details) await this.#lookAtHandshake();
    throw new Unavailable(reason ?? grpc.status[code], text, retryAfter);
  }

  // The first certificate and the next ones.

  async #enroll() {
    if (!this.#tokenFile) {
      throw new Misused('NO_TOKEN', `${this.#folder} has no certificate yet: give a join token with --token-file`);
    }
    // The file ends with a line feed, which is no part of the token.
    const token = fs.readFileSync(this.#tokenFile, 'utf8').trim();
    const { key, requestId } = this.#pending(`enroll ${sha256(token)}`);
    const body = { request_id: requestId, proof: { join_token: token }, csr_pem: pem(csr(key), 'CERTIFICATE REQUEST') };
    this.#store(key, await this.#post('/v1/enroll', body));
    console.error(`INFO enrolled serial=${this.serial}`);
  }

  /** At once, whatever the window is. */
  async renew() {
    const before = this.serial;
    const { key, requestId } = this.#pending(`renew ${before}`);
    try {
      const way = this.#expired() ? this.#renewOutOfBand(key, requestId) : this.#renewByMtls(key, requestId);
      this.#store(key, await way);
    } catch (error) {
      if (error instanceof Unavailable) {
        this.#failures += 1;
        const pause = (0.5 + Math.random() / 2) * Math.min(2 ** this.#failures, 300);
        this.#retryAt = this.#clock() + 1000 * Math.max(error.retryAfter, pause);
      }
      throw error;
    }
    console.error(`INFO renewed serial=${this.serial} before=${before}`);
  }

  async #renewByMtls(key, requestId) {
    const request = { csr_der: csr(key), request_id: requestId };
    const answer = await this.call(this.clients.certificates, 'RenewCertificate', request);
    const joined = (list) => list.map((der) => pem(der, 'CERTIFICATE')).join('');
    return {
      chain_pem: joined(answer.chain_der),
      roots_pem: joined(answer.root_der),
      trust_anchors_pem: joined(answer.trust_anchor_der),
    };
  }

  /** No handshake takes an expired certificate, so a signature with its key speaks for us. */
  #renewOutOfBand(key, requestId) {
    const request = csr(key);
    const now = Math.floor(this.#clock() / 1000);
    // The environment's trust domain suffix: the SPIFFE ID's host without the tenant.
    const suffix = /URI:spiffe:\/\/[^./]+\.([^/]+)\//.exec(this.#leaf.subjectAltName)[1];
    const lines = ['signet-out-of-band-renewal-v1', suffix, sha256(this.#leaf.raw), sha256(request), requestId, now];
    const signature = crypto.sign('sha256', lines.map((line) => `${line}\n`).join(''), this.#key);
    return this.#post('/v1/renew', {
      request_id: requestId,
      certificate_pem: this.#leaf.toString(),
      csr_pem: pem(request, 'CERTIFICATE REQUEST'),
      sign_time: new Date(now * 1000).toISOString(),
      signature: signature.toString('base64'),
    });
  }

  /** The certificate before this one will not be used again, so a later use of it is a thief's. */
  async #confirm() {
    const request = { request_id: crypto.randomUUID() };
    const answer = await this.call(this.clients.certificates, 'ConfirmCertificate', request);
    if (answer.serial_number !== this.serial) {
      throw new SignetError('WRONG_CERTIFICATE', 'the connection still has the certificate before');
    }
    this.#confirmed = true;
  }

  /** When to renew: an operator may steer that. */
  async #ask() {
    const sent = Date.now();
    const info = await this.call(this.clients.certificates, 'GetRenewalInfo', {});
    const millis = (time) => time.seconds * 1000 + time.nanos / 1e6;
    this.#ahead = millis(info.server_time) - (sent + Date.now()) / 2;
    this.#askAt = this.#clock() + 1000 * info.retry_after_seconds * (0.5 + Math.random());
    const [start, end] = [millis(info.window_start), millis(info.window_end)];
    this.#due = Math.min(start + (end - start) * this.#place, this.#ends() - this.#lifetime() / 6);
    this.#write('bundle.pem', info.trust_anchor_der.map((der) => pem(der, 'CERTIFICATE')).join(''));
    console.error(`INFO renewal due=${new Date(this.#due).toISOString()} reason=${info.reason}`);
  }

  // What is kept.

  /** The key and request id for `purpose`, on disk before they are sent: a lost answer is asked for again. */
  #pending(purpose) {
    const file = this.#path('pending.json');
    let kept = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : {};
    if (kept.purpose !== purpose) {
      const { privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
      kept = { purpose, request_id: crypto.randomUUID(), key_pem: keyPem(privateKey) };
      this.#write('pending.json', JSON.stringify(kept));
    }
    return { key: crypto.createPrivateKey(kept.key_pem), requestId: kept.request_id };
  }

  #store(key, issued) {
    // Whoever knows the server's own anchors (for servers only) trusts no root, which vouches for tenants, too.
    const known = certificates(issued.roots_pem);
    const own = known.filter((text) => new crypto.X509Certificate(text).keyUsage?.includes(SERVER_AUTH));
    this.#write('anchors.pem', (own.length ? own : known).join(''));
    this.#write('bundle.pem', issued.trust_anchors_pem);
    // Key and chain are one file, so that one rename replaces both.
    this.#write('identity.pem', keyPem(key) + issued.chain_pem);
    fs.rmSync(this.#path('pending.json'), { force: true });
    this.#takeUp();
  }

  #takeUp() {
    const text = fs.readFileSync(this.#path('identity.pem'), 'utf8');
    const chain = certificates(text);
    this.#key = crypto.createPrivateKey(text);
    this.#leaf = new crypto.X509Certificate(chain[0]);
    this.serial = this.#leaf.serialNumber.toLowerCase().padStart(32, '0');
    // Its place in any window: at random, and the same one after a restart.
    this.#place = crypto.createHash('sha256').update(this.#leaf.raw).digest().readUIntBE(0, 6) / 2 ** 48;
    [this.#confirmed, this.#failures, this.#askAt, this.#retryAt] = [false, 0, 0, 0];
    // Until the control plane has said better.
    this.#due = this.#ends() - this.#lifetime() / 3;
    const old = this.clients;
    // A TLS session that is resumed still has the old certificate: new credentials have no sessions.
    const credentials = grpc.credentials.createSsl(
      fs.readFileSync(this.#path('anchors.pem')), Buffer.from(keyPem(this.#key)), Buffer.from(chain.join('')),
    );
    this.clients = {
      principals: new api.PrincipalService(this.#server.host, credentials),
      certificates: new api.CertificateService(this.#server.host, credentials),
    };
    for (const client of Object.values(old ?? {})) client.close();
  }

  /** Whole or not at all, and for this user only. */
  #write(name, text) {
    const part = this.#path(`${name}.part`);
    fs.rmSync(part, { force: true });
    const file = fs.openSync(part, 'wx', 0o600);
    fs.writeSync(file, text);
    fs.fsyncSync(file);
    fs.closeSync(file);
    fs.renameSync(part, this.#path(name));
    const folder = fs.openSync(this.#folder, 'r');
    fs.fsyncSync(folder);
    fs.closeSync(folder);
  }

  /** Node.js has no file locks. A name in Linux' abstract namespace ends with its process. */
  async #takeLock() {
    this.#lock = net.createServer().unref();
    await new Promise((resolve, reject) => {
      const busy = () => reject(new Misused('FOLDER_BUSY', `another process has ${this.#folder}`));
      this.#lock.on('error', busy).listen(`\0signet ${sha256(fs.realpathSync(this.#folder))}`, resolve);
    });
  }

  // HTTPS and TLS.

  #anchors() {
    const own = this.#path('anchors.pem');
    return fs.readFileSync(fs.existsSync(own) ? own : this.#firstAnchors);
  }

  #untrusted(error) {
    // OpenSSL's words, as in DEPTH_ZERO_SELF_SIGNED_CERT; a wrong name has a code of Node.js.
    const wrong = /CERT|SIGNATURE|CA_/.test(error.code ?? '') && !error.code.includes('ALERT');
    if (wrong) throw new Untrusted('SERVER_CERTIFICATE_NOT_TRUSTED', error.message);
  }

  async #post(to, body) {
    const headers = { 'content-type': 'application/json' };
    const options = { method: 'POST', ca: this.#anchors(), agent: false, timeout: MILLIS, headers };
    const answer = await new Promise((resolve, reject) => {
      const request = https.request(new URL(to, this.#server), options, (response) => {
        const parts = [];
        response.on('data', (part) => parts.push(part)).on('error', reject);
        response.on('end', () => resolve({ response, text: Buffer.concat(parts).toString() }));
      });
      request.on('timeout', () => request.destroy(new Error('no answer in time'))).on('error', reject);
      request.end(JSON.stringify(body));
    }).catch((error) => {
      this.#untrusted(error);
      throw new Unavailable('UNREACHABLE', `${this.#server.host}: ${error.code ?? error.message}`);
    });
    const { statusCode: status, headers: answered } = answer.response;
    if (status === 200) return JSON.parse(answer.text);
    // A gateway in between may answer, too, with no JSON.
    const isOurs = answered['content-type']?.startsWith('application/problem+json');
    const { reason, detail = '', correlation_id: id = '' } = isOurs ? JSON.parse(answer.text) : {};
    const words = [reason ?? `HTTP_${status}`, `${detail} ${id}`, Number(answered['retry-after'] ?? 0)];
    throw status === 429 || status >= 500 ? new Unavailable(...words) : new Refused(...words);
  }

  /** TLS 1.3 refuses a certificate after the client's part of the handshake; gRPC shows a lost connection only. */
  async #lookAtHandshake() {
    const text = fs.readFileSync(this.#path('identity.pem'), 'utf8');
    const { hostname: host, port } = this.#server;
    const error = await new Promise((resolve) => {
      const servername = net.isIP(host) ? '' : host;
      const options = { host, servername, port: port || 443, ca: this.#anchors(), cert: text, key: text };
      const socket = tls.connect(options, () => socket.write('HEAD / HTTP/1.1\r\nhost: signet\r\n\r\n'));
      socket.setTimeout(MILLIS, () => socket.destroy());
      socket.on('error', resolve).on('data', () => resolve()).on('close', () => resolve());
    });
    if (!error) return;
    this.#untrusted(error);
    const alert = /_ALERT_(\w+)/.exec(error.code ?? '')?.[1];
    if (alert) throw new Refused(alert, 'TLS refused our certificate');
  }

  #path(name) { return path.join(this.#folder, name); }
  #clock() { return Date.now() + this.#ahead; }
  #ends() { return Date.parse(this.#leaf.validTo); }
  #lifetime() { return this.#ends() - Date.parse(this.#leaf.validFrom); }
  #expired() { return this.#clock() >= this.#ends(); }
}

/** A PKCS#10 request. Names are the control plane's to give; only the key counts. */
function csr(key) {
  const der = (tag, ...parts) => {
    const body = Buffer.concat(parts);
    return Buffer.concat([Buffer.from(body.length < 128 ? [tag, body.length] : [tag, 0x81, body.length]), body]);
  };
  const publicKey = crypto.createPublicKey(key).export({ type: 'spki', format: 'der' });
  const info = der(0x30, der(0x02, Buffer.from([0])), der(0x30), publicKey, der(0xa0));
  const ecdsaWithSha256 = der(0x30, der(0x06, Buffer.from('2a8648ce3d040302', 'hex')));
  return der(0x30, info, ecdsaWithSha256, der(0x03, Buffer.from([0]), crypto.sign('sha256', info, key)));
}

function told(details) {
  const { details: parts } = rpc.lookupType('Status').decode(details);
  const part = (name) => {
    const found = parts.find((any) => any.type_url.endsWith(`google.rpc.${name}`));
    return found && rpc.lookupType(name).decode(found.value);
  };
  return { reason: part('ErrorInfo')?.reason, retryAfter: Number(part('RetryInfo')?.delay?.seconds ?? 0) };
}

const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
const keyPem = (key) => key.export({ type: 'pkcs8', format: 'pem' });
const certificates = (text) => text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g) ?? [];
const pem = (der, what) => {
  const lines = der.toString('base64').match(/.{1,64}/g).join('\n');
  return `-----BEGIN ${what}-----\n${lines}\n-----END ${what}-----\n`;
};
