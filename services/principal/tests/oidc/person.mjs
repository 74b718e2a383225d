// Somebody with a browser: opens a page, follows redirects, keeps cookies, and fills in every form with a name, up to a
// page without one. With "deny" as a third argument the sign-in is refused where that is asked.
const [start, name, wish] = process.argv.slice(2);
const jar = new Map();

async function open(url, form) {
  const headers = { cookie: [...jar].map(([key, value]) => `${key}=${value}`).join('; ') };
  const body = form && new URLSearchParams(form);
  const sent = fetch(url, { method: form ? 'POST' : 'GET', headers, body, redirect: 'manual' });
  const answer = await sent.catch((error) => Promise.reject(new Error(`${url}: ${error.cause}`)));
  for (const cookie of answer.headers.getSetCookie()) {
    const [, key, value] = /^([^=]+)=([^;]*)/.exec(cookie);
    if (value) jar.set(key, value);
    else jar.delete(key);
  }
  const target = answer.headers.get('location');
  return target ? { next: new URL(target, url) } : { url, page: await answer.text() };
}

function filled(page) {
  const form = /<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/.exec(page);
  if (!form) return null;
  const fields = {};
  for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
    const [, key] = /name="([^"]*)"/.exec(input) ?? [];
    const [, value] = /value="([^"]*)"/.exec(input) ?? [];
    if (key) fields[key] = value ?? name;
  }
  if (wish === 'deny' && page.includes('name="abort"')) fields.abort = 'yes';
  return { action: form[1].replaceAll('&amp;', '&'), fields };
}

let at = await open(start);
for (let steps = 0; steps < 30; steps += 1) {
  if (at.next) {
    at = await open(at.next);
    continue;
  }
  const form = filled(at.page);
  if (!form) break;
  at = await open(new URL(form.action, at.url), form.fields);
  if (form.fields.abort) break;
}
console.log((at.page ?? '').replace(/<(style|script)[\s\S]*?<\/\1>|<[^>]*>/g, ' ').replace(/\s+/g, ' ').trim());
