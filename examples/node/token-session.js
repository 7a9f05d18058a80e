// Sessions of Token Server for Express, and all else that takes (req, res, next).
// No package is needed:
//
//   app.use(sessions({ client: new Client(), public: ['/login'] }));
//
// Each request exchanges the token of its cookie once: the old token is spent, the new
// one goes into the answer's cookie. req.session.meta is the metadata. A change of it is
// one more exchange, at once, so it has to come before the answer begins:
//
//   await req.session.update({ year: 2026 });
//
// What must not be, and is not: a PUT that is sent again (its token may be spent
// already), a redirect that is followed, an answer that is cached, an error of the token
// server that looks like a log-out. A page that sends several requests at once needs a
// token server with --grace, since each of them presents the same token.

/** The token is spent, expired or unknown: the user has to log in. */
export class InvalidToken extends Error {}

/** No answer, or none that says anything of the token: answer 503, and keep the cookie. */
export class Unavailable extends Error {
  status = 503; // for Express
}

/** Calls one token server. Exchanges made while others are under way travel together. */
export class Client {
  #waiting = [];
  #sending = false;

  constructor({ url = 'http://127.0.0.1:3666', timeout = 2000, maxBatch = 256, secret } = {}) {
    Object.assign(this, { url, timeout, maxBatch });
    this.headers = { 'Content-Type': 'application/json' };
    if (secret) this.headers.Authorization = `Bearer ${secret}`;
  }

  async create(meta, subject) {
    return this.#call('POST', '/token', JSON.stringify({ meta, subject }));
  }

  /** Spends the token, and returns the next one and the metadata, patched. */
  exchange(token, meta, unset) {
    return new Promise((resolve, reject) => {
      // What can't be written as JSON fails here, and not in a batch with others.
      this.#waiting.push({ item: JSON.stringify({ exchange: { token, meta, unset } }), resolve, reject });
      // What else this turn of the event loop asks for goes along.
      if (!this.#sending) {
        this.#sending = true;
        setImmediate(() => this.#send());
      }
    });
  }

  async delete(token) {
    await this.#call('DELETE', '/token', JSON.stringify({ token }));
  }

  async endSubject(subject) {
    await this.#call('DELETE', '/subject', JSON.stringify({ subject }));
  }

  async #send() {
    while (this.#waiting.length > 0) await this.#sendBatch(this.#waiting.splice(0, this.maxBatch));
    this.#sending = false;
  }

  async #sendBatch(calls) {
    try {
      const answer = await this.#call('POST', '/token/batch', `{"batch":[${calls.map((c) => c.item)}]}`);
      const { Ok } = JSON.parse(answer);
      calls.forEach((call, i) => settle(call, Ok[i]));
    } catch (err) {
      // One bad item has all refused, with nothing carried out: that is not the others' fault.
      if ((err.answered === 400 || err.answered === 413) && calls.length > 1) {
        const half = calls.length >> 1;
        await this.#sendBatch(calls.slice(0, half));
        await this.#sendBatch(calls.slice(half));
        return;
      }
      const cause = err instanceof Unavailable ? err : new Unavailable('token server', { cause: err });
      calls.forEach((call) => call.reject(cause));
    }
  }

  // fetch sends a request once.
  async #call(method, path, body) {
    let answer;
    let text;
    try {
      answer = await fetch(this.url + path, {
        method,
        headers: this.headers,
        body,
        redirect: 'error',
        cache: 'no-store',
        signal: AbortSignal.timeout(this.timeout),
      });
      text = await answer.text();
    } catch (err) {
      throw new Unavailable('token server', { cause: err });
    }
    if (answer.ok) return text;
    throw Object.assign(new Unavailable(`token server: status ${answer.status}`), { answered: answer.status });
  }
}

function settle({ resolve, reject }, answer) {
  if (answer.Ok) resolve(answer.Ok);
  else if (answer.Err === 'InvalidToken') reject(new InvalidToken());
  else reject(new Unavailable(answer.Err));
}

/** The session of one request. meta is undefined where there is none. */
class Session {
  constructor(client, token, { inTime, onToken }) {
    Object.assign(this, { client, token, inTime, onToken });
  }

  async update(meta, unset) {
    this.inTime();
    this.#set(await this.client.exchange(this.token, meta, unset));
  }

  /** Begins a new session, and ends the one before: who has the token of that has nothing. */
  async login(meta, subject) {
    this.inTime();
    const before = this.token;
    this.#set({ token: await this.client.create(meta, subject), meta });
    // If that fails the one before is nobody's but who has copied its token, until it expires.
    if (before) await this.client.delete(before).catch(() => {});
  }

  async logout() {
    this.inTime();
    if (this.token) await this.client.delete(this.token);
    this.#set({});
  }

  #set({ token, meta }) {
    Object.assign(this, { token, meta });
    this.onToken(token);
  }
}

/** The middleware. Requests to public paths need no session; others go to the login page. */
export function sessions({ client, login = '/login', public: open = [], cookie = '__Host-token' }) {
  const isPublic = new Set([login, ...open]);
  // A cookie without Secure is for plain HTTP on loopback.
  const attributes = `; Path=/; HttpOnly; SameSite=Lax${cookie.startsWith('__Host-') ? '; Secure' : ''}`;
  const setCookie = (res, token) =>
    res.setHeader('Set-Cookie', [
      ...[res.getHeader('Set-Cookie') ?? []].flat().filter((c) => !c.startsWith(`${cookie}=`)),
      `${cookie}=${token ?? ''}${attributes}${token ? '' : '; Max-Age=0'}`,
    ]);

  return async (req, res, next) => {
    res.setHeader('Cache-Control', 'no-store');
    res.appendHeader('Vary', 'Cookie');
    req.session = new Session(client, cookieOf(req, cookie), {
      onToken: (token) => setCookie(res, token),
      // A token that is spent too late for the cookie would be the user's last.
      inTime() {
        if (res.headersSent) throw new Error('the answer has begun: the session can not change any more');
      },
    });
    try {
      if (req.session.token) await req.session.update();
    } catch (err) {
      // The cookie stays: a request beside this one may have set the next one.
      if (!(err instanceof InvalidToken)) return next(err);
    }
    const path = req.url.split('?')[0];
    if (req.session.meta || isPublic.has(path)) return next();
    if (req.headers.accept?.includes('application/json')) {
      return res.writeHead(401, { 'Content-Type': 'application/json' }).end('{"Err":"InvalidToken"}');
    }
    res.writeHead(303, { Location: `${login}?next=${encodeURIComponent(req.originalUrl ?? req.url)}` }).end();
  };
}

/** Answers 503 where the token server has not answered: app.use it behind the routes. */
export function unavailable(err, req, res, next) {
  if (!(err instanceof Unavailable) || res.headersSent) return next(err);
  res.writeHead(503, { 'Retry-After': '1', 'Content-Type': 'text/plain' }).end('Please try again in a moment.\n');
}

/** Where to go after the login: a page of ours, whatever the query said. */
export function wayBack(path) {
  return typeof path === 'string' && /^\/(?![/\\])[\x21-\x7e]*$/.test(path) ? path : '/';
}

function cookieOf(req, name) {
  for (const pair of (req.headers.cookie ?? '').split(';')) {
    const at = pair.indexOf('=');
    if (pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim();
  }
  return undefined;
}
