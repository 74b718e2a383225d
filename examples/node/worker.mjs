// A worker that calls the control plane every few seconds, and goes on with each new certificate without a restart.
//
// Standard output: a line for each call. Exit codes: 0 told to stop, 1 other, 2 usage, 4 refused, 6 unavailable
// (--once).
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Identity, Misused, SignetError, Unavailable } from './identity.mjs';

const USAGE = `worker.mjs --server URL --anchors FILE --folder DIR [--token-file FILE]
  [--every SECONDS] [--once] [--renew]`;

async function whoAmI(identity) {
  const me = await identity.call(identity.clients.principals, 'WhoAmI', {});
  console.log(`called spiffe_id=${me.spiffe_id} serial=${me.serial_number}`);
}

async function work(identity, every, once, renew) {
  await identity.open();
  if (renew) await identity.renew();
  for (;;) {
    try {
      await identity.keep();
      await whoAmI(identity);
    } catch (error) {
      if (once || !(error instanceof Unavailable)) throw error;
      console.error(`WARNING ${error.message}; going on`);
    }
    if (once) return;
    await sleep(every * 1000);
  }
}

function given() {
  const text = { type: 'string' };
  const options = { server: text, anchors: text, folder: text, 'token-file': text };
  Object.assign(options, { every: { ...text, default: '5' }, once: { type: 'boolean' }, renew: { type: 'boolean' } });
  try {
    const { values } = parseArgs({ options });
    if (values.server && values.anchors && values.folder) return values;
  } catch {
    // An unknown option.
  }
  throw new Misused('USAGE', USAGE);
}

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
try {
  const { server, anchors, folder, 'token-file': tokenFile, every, once, renew } = given();
  await work(new Identity(server, anchors, folder, tokenFile), Number(every), once, renew);
  process.exit(0);
} catch (error) {
  console.error(`ERROR ${error instanceof SignetError ? error.message : error.stack}`);
  process.exit(error.exitCode ?? 1);
}
