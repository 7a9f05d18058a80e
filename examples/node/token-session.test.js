// node --test, with a real token server: TOKEN_SERVER names its program.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import express from 'express';
import { Client, Unavailable, sessions, unavailable, wayBack } from './token-session.js';

// A token server of our own on a free port, and again on that one after a stop.
class TokenServer {
  port = 0;

  async start() {
    this.folder ??= await mkdtemp(join(tmpdir(), 'token-'));
    this.process = spawn(process.env.TOKEN_SERVER, [
      '--port', this.port, '--admin-address', 'off',
      '--data-dir', this.folder, '--fsync', 'everysec', '--grace', '10s',
    ], { stdio: ['ignore', 'ignore', 'pipe'] });
    const lines = createInterface({ input: this.process.stderr });
    this.port = await new Promise((resolve) =>
      lines.on('line', (line) => {
        const found = /msg=listening address=[0-9.]+:(\d+)/.exec(line);
        if (found) resolve(found[1]);
      }));
    this.url = `http://127.0.0.1:${this.port}`;
    while (!(await fetch(`${this.url}/readyz`)).ok);
  }

  async stop() {
    this.process.kill();
    await once(this.process, 'exit');
  }
}

function application(client) {
  const app = express();
  app.use(sessions({ client, cookie: 'token' }));
  app.get('/login', async (req, res) => {
    await req.session.login({ user: 'ada' }, 'ada');
    res.send('welcome');
  });
  app.get('/', (req, res) => res.json(req.session.meta));
  app.get('/choose', async (req, res) => {
    await req.session.update({ year: Number(req.query.year) });
    res.json(req.session.meta);
  });
  app.get('/broken', () => {
    throw new Error('broken');
  });
  app.get('/late', async (req, res) => {
    res.flushHeaders();
    await req.session.update({ late: true }).catch(() => {});
    res.end();
  });
  app.get('/logout', async (req, res) => {
    await req.session.logout();
    res.send('bye');
  });
  app.use(unavailable);
  app.use((err, req, res, next) => res.status(500).send('broken'));
  return app;
}

// Keeps one cookie, and follows nothing.
class Browser {
  constructor(port, cookie) {
    Object.assign(this, { port, cookie });
  }

  async get(path, accept = 'text/html') {
    const headers = { Accept: accept };
    if (this.cookie !== undefined) headers.Cookie = `a=b; token=${this.cookie}`;
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, { headers, redirect: 'manual' });
    for (const cookie of answer.headers.getSetCookie()) {
      this.cookie = cookie.includes('Max-Age=0') ? undefined : /^token=([^;]*)/.exec(cookie)[1];
    }
    return { status: answer.status, headers: answer.headers, body: await answer.text() };
  }

  async meta(path = '/') {
    return JSON.parse((await this.get(path)).body);
  }
}

test('sessions', async (t) => {
  const server = new TokenServer();
  await server.start();
  t.after(async () => {
    await server.stop();
    await rm(server.folder, { recursive: true });
  });
  const client = new Client({ url: server.url });
  const listener = application(client).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  t.after(() => listener.closeAllConnections());
  const { port } = listener.address();
  const browser = new Browser(port);

  await t.test('who has no session goes to the login page', async () => {
    const { status, headers } = await browser.get('/a?b=c');
    assert.equal(status, 303);
    assert.equal(headers.get('location'), '/login?next=%2Fa%3Fb%3Dc');
    assert.equal((await browser.get('/', 'application/json')).status, 401);
  });

  await t.test('login, pages and a patch', async () => {
    await browser.get('/login');
    const first = browser.cookie;
    const { body, headers } = await browser.get('/');
    assert.deepEqual(JSON.parse(body), { user: 'ada' });
    assert.notEqual(browser.cookie, first, 'the page left the spent token in the cookie');
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.deepEqual(await browser.meta('/choose?year=2026'), { user: 'ada', year: 2026 });
    assert.deepEqual(await browser.meta(), { user: 'ada', year: 2026 });
  });

  await t.test('a handler that fails leaves the user logged in', async () => {
    assert.equal((await browser.get('/broken')).status, 500);
    assert.equal((await browser.get('/')).status, 200);
  });

  await t.test('a change that is too late for the cookie is none', async () => {
    await browser.get('/late');
    assert.deepEqual(await browser.meta(), { user: 'ada', year: 2026 });
  });

  await t.test('parallel requests with one cookie, within the grace', async () => {
    const tabs = Array.from({ length: 10 }, () => new Browser(port, browser.cookie));
    const answers = await Promise.all(tabs.map((tab) => tab.get('/')));
    assert.deepEqual(answers.map((a) => a.status), Array(10).fill(200));
    browser.cookie = tabs.at(-1).cookie;
    assert.equal((await browser.get('/')).status, 200);
  });

  await t.test('exchanges of one moment travel together', async (t) => {
    const tokens = await Promise.all(Array.from({ length: 50 }, (_, n) => client.create({ n })));
    const sent = t.mock.method(globalThis, 'fetch');
    const got = await Promise.all(tokens.map((token) => client.exchange(token, { seen: true })));
    assert.deepEqual(got.map(({ meta }) => meta), tokens.map((_, n) => ({ n, seen: true })));
    assert.equal(sent.mock.callCount(), 1);
  });

  await t.test("one caller's bad patch fails alone", async () => {
    const [one, two] = await Promise.all([client.create({}), client.create({})]);
    const circular = {};
    circular.circular = circular;
    const got = await Promise.allSettled([
      client.exchange(one, { bad: '\ud800' }),
      client.exchange(two, { good: true }),
      client.exchange(one, circular),
    ]);
    assert.deepEqual(got.map((g) => g.status), ['rejected', 'fulfilled', 'rejected']);
  });

  await t.test('the token server away is no log-out', async () => {
    await server.stop();
    const before = browser.cookie;
    const { status, headers } = await browser.get('/');
    assert.equal(status, 503);
    assert.equal(headers.get('retry-after'), '1');
    assert.equal(browser.cookie, before);
    await server.start();
    assert.equal((await browser.get('/')).status, 200);
  });

  await t.test("garbage is nobody's token", async () => {
    const garbled = new Browser(port, 'x"{}%'.repeat(1000));
    const { status, headers } = await garbled.get('/');
    assert.equal(status, 303);
    assert.deepEqual(headers.getSetCookie(), []);
  });

  await t.test('log out', async () => {
    const copied = new Browser(port, browser.cookie);
    await browser.get('/logout');
    assert.equal(browser.cookie, undefined);
    assert.equal((await copied.get('/')).status, 303);
  });
});

// A connection that breaks behind a request must not make it two.
test('nothing is sent twice', async (t) => {
  let received = 0;
  const stub = createServer((conn) => {
    conn.on('data', (data) => {
      if (!data.includes(' HTTP/1.1\r\n')) return;
      if (++received > 1) conn.destroy();
      else conn.write('HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n');
    });
    conn.on('error', () => {});
  }).listen(0, '127.0.0.1');
  await once(stub, 'listening');
  t.after(() => stub.close());
  const client = new Client({ url: `http://127.0.0.1:${stub.address().port}` });
  await client.delete('x'); // leaves a connection behind
  await assert.rejects(client.exchange('x'), Unavailable);
  assert.equal(received, 2);
});

test('the way back is a page of ours', () => {
  for (const [path, want] of [['/a?b', '/a?b'], ['//evil', '/'], ['/\\evil', '/'], ['https:evil', '/'], [undefined, '/'], ['/\nx', '/']]) {
    assert.equal(wayBack(path), want);
  }
});
