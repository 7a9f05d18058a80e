"""Sessions of Token Server for WSGI and ASGI applications (Flask, Django, FastAPI, ...).

The standard library alone. Put a middleware around the application:

    app.wsgi_app = WSGISessions(app.wsgi_app, Client())          # Flask
    application = WSGISessions(get_wsgi_application(), Client()) # Django
    app.add_middleware(ASGISessions, client=AsyncClient())       # FastAPI, Starlette

and use environ["token.session"], or scope["token.session"], in a handler.

Each request exchanges the token of its cookie once: the old token is spent, the new one
goes into the answer's cookie. A change of the metadata is one more exchange, at once, so
it has to come before the answer begins. Who has no session is sent to the login page.

What must not be, and is not: a PUT that is sent again (its token may be spent already), a
redirect that is followed, an answer that is cached, an error of the token server that
looks like a log-out. A page that sends several requests at once needs a token server with
--grace and --secret-file, since each of them presents the same token.
"""

import asyncio
import http.client
import itertools
import json
import select
import threading
import time
import traceback
import urllib.parse


class InvalidToken(Exception):
    """The token is spent, expired or unknown: the user has to log in."""


class Unavailable(Exception):
    """No answer, or none that says anything of the token: answer 503, and keep the cookie."""


class Refused(Unavailable):
    """The token server has not taken the request as it was, and has carried out nothing of it."""


class Client:
    """Calls one token server. Threads may share it."""

    # The server closes a connection that was idle for five minutes.
    IDLE = 240

    def __init__(self, host="127.0.0.1", port=3666, timeout=2.0, secret=None):
        self._address, self._timeout = (host, port), timeout
        self._headers = {"Content-Type": "application/json"}
        if secret:
            self._headers["Authorization"] = "Bearer " + secret
        self._idle, self._lock = [], threading.Lock()

    def create(self, meta, subject=None):
        body = {"meta": meta} if subject is None else {"meta": meta, "subject": subject}
        return self._call("POST", "/token", body).decode()

    def exchange(self, token, meta=None, unset=None):
        """Spends the token, and returns the next one and the metadata, patched."""
        return self.next_of(self._json("PUT", "/token", exchange_of(token, meta, unset)))

    def delete(self, token):
        self._call("DELETE", "/token", {"token": token})

    def end_subject(self, subject):
        self._call("DELETE", "/subject", {"subject": subject})

    def batch(self, items):
        """Sends items as one request. Each has an answer of its own, in their order."""
        return self._json("POST", "/token/batch", {"batch": items})["Ok"]

    @staticmethod
    def next_of(answer):
        if "Ok" in answer:
            return answer["Ok"]["token"], answer["Ok"]["meta"]
        raise InvalidToken() if answer["Err"] == "InvalidToken" else Unavailable(answer["Err"])

    def _json(self, method, path, body):
        return json.loads(self._call(method, path, body))

    def _call(self, method, path, body):
        conn = self._connection()
        try:
            # http.client sends once and follows no redirect.
            conn.request(method, path, json.dumps(body), self._headers)
            answer = conn.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as err:
            conn.close()
            raise Unavailable(str(err)) from err
        if not answer.will_close:
            with self._lock:
                self._idle.append((time.monotonic(), conn))
        if answer.status not in (200, 202):
            raise (Refused if answer.status in (400, 413) else Unavailable)("token server: status %d" % answer.status)
        return data

    def _connection(self):
        while True:
            with self._lock:
                if not self._idle:
                    return http.client.HTTPConnection(*self._address, timeout=self._timeout)
                since, conn = self._idle.pop()
            # What can be read of an idle connection is its end.
            if time.monotonic() - since < self.IDLE and not readable(conn.sock):
                return conn
            conn.close()


def readable(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def exchange_of(token, meta=None, unset=None):
    """The body of an exchange: also an item of a batch."""
    body = {"token": token, "meta": meta, "unset": unset}
    return {name: value for name, value in body.items() if value is not None}


class AsyncClient:
    """A Client for asyncio. Exchanges made while others are under way travel together."""

    MAX_BATCH = 256

    def __init__(self, *args, **kwargs):
        self.blocking = Client(*args, **kwargs)
        self._waiting, self._sender = [], None

    async def exchange(self, token, meta=None, unset=None):
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(({"exchange": exchange_of(token, meta, unset)}, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return Client.next_of(await answer)

    async def _send(self):
        while self._waiting:
            batch, self._waiting = self._waiting[:self.MAX_BATCH], self._waiting[self.MAX_BATCH:]
            answers = await asyncio.to_thread(self._answers, [item for item, _ in batch])
            for (_, waiter), answer in zip(batch, answers):
                if waiter.done():  # its request was given up
                    continue
                if isinstance(answer, Exception):
                    waiter.set_exception(answer)
                else:
                    waiter.set_result(answer)
        self._sender = None

    def _answers(self, items):
        try:
            return self.blocking.batch(items)
        except Exception as err:  # whatever it was, somebody waits for it
            # One item with bad metadata has all refused, and nothing carried out: not the others' fault.
            if len(items) > 1 and isinstance(err, (Refused, TypeError, ValueError)):
                half = len(items) // 2
                return self._answers(items[:half]) + self._answers(items[half:])
            return [err if isinstance(err, Unavailable) else Unavailable(repr(err))] * len(items)

    async def create(self, meta, subject=None):
        return await asyncio.to_thread(self.blocking.create, meta, subject)

    async def delete(self, token):
        await asyncio.to_thread(self.blocking.delete, token)

    async def end_subject(self, subject):
        await asyncio.to_thread(self.blocking.end_subject, subject)


class Session:
    """The session of one request, whose calls raise Unavailable. meta is None where there is none."""

    def __init__(self, client, token):
        self.client, self.token, self.meta = client, token, None
        self.ended = False  # by a log-out, which alone takes the cookie away
        self.sent = False  # the answer has begun, and can have no other cookie

    def in_time(self):
        if self.sent:
            raise RuntimeError("the answer has begun: the session can't change any more")

    def begin(self):
        try:
            self.token, self.meta = self.client.exchange(self.token)
        except InvalidToken:
            self.token = None

    def update(self, meta=None, unset=None):
        self.in_time()
        self.token, self.meta = self.client.exchange(self.token, meta, unset)

    def login(self, meta, subject=None):
        """Begins a new session, and ends the one before: who has the token of that has nothing."""
        self.in_time()
        before = self.token
        self.token, self.meta = self.client.create(meta, subject), meta
        if before:
            try:
                self.client.delete(before)
            except Unavailable:
                pass  # nobody's but who has copied its token, until it expires

    def logout(self):
        self.in_time()
        if self.token:
            self.client.delete(self.token)
        self.token, self.meta, self.ended = None, None, True


class AsyncSession(Session):
    async def begin(self):
        try:
            self.token, self.meta = await self.client.exchange(self.token)
        except InvalidToken:
            self.token = None

    async def update(self, meta=None, unset=None):
        self.in_time()
        self.token, self.meta = await self.client.exchange(self.token, meta, unset)

    async def login(self, meta, subject=None):
        self.in_time()
        before = self.token
        self.token, self.meta = await self.client.create(meta, subject), meta
        if before:
            try:
                await self.client.delete(before)
            except Unavailable:
                pass

    async def logout(self):
        self.in_time()
        if self.token:
            await self.client.delete(self.token)
        self.token, self.meta, self.ended = None, None, True


def way_back(path):
    """Where to go after the login: a page of ours, whatever the query said."""
    local = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isascii() and path.isprintable()
    return path if local else "/"


class Sessions:
    """What both middlewares share. Requests to public paths need no session."""

    UNAVAILABLE = 503, [("Retry-After", "1"), ("Content-Type", "text/plain")], b"Please try again in a moment.\n"
    FAILED = 500, [("Content-Type", "text/plain")], b"Internal Server Error\n"

    def __init__(self, app, client, login="/login", public=(), cookie="__Host-token"):
        self.app, self.client, self.login, self.cookie = app, client, login, cookie
        self.public = (login, *public)

    def token_of(self, cookies):
        for pair in cookies.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self.cookie:
                return value
        return None

    def refusal(self, path, query, accept):
        """The answer to who has no session and needs one: the login page, with the way back."""
        if "application/json" in accept:
            return 401, [("Content-Type", "application/json")], b'{"Err":"InvalidToken"}'
        back = urllib.parse.quote(path) + ("?" + query if query else "")
        return 303, [("Location", self.login + "?" + urllib.parse.urlencode({"next": back}))], b""

    def headers(self, session, had):
        """What every answer has: never cached, and the cookie where it changes."""
        headers = [("Cache-Control", "no-store"), ("Vary", "Cookie")]
        # A refused cookie stays: the answer to a request beside this one may have brought the next.
        if session.token != had and (session.token or session.ended):
            value = "%s=%s; Path=/; HttpOnly; SameSite=Lax" % (self.cookie, session.token or "")
            # A cookie without Secure is for plain HTTP on loopback.
            value += "; Secure" if self.cookie.startswith("__Host-") else ""
            headers.append(("Set-Cookie", value if session.token else value + "; Max-Age=0"))
        return headers


class WSGISessions(Sessions):
    def __call__(self, environ, start_response):
        had = self.token_of(environ.get("HTTP_COOKIE", ""))
        session = environ["token.session"] = Session(self.client, had)
        path = environ.get("PATH_INFO", "/")
        begun = write = None  # what the application has begun to answer with, and what takes more of it

        def start(status, headers, exc_info=None):
            nonlocal begun
            if session.sent:  # too late for anything but an error
                return start_response(status, headers, exc_info)
            begun = status, headers, exc_info
            return lambda data: commit()(data)

        def commit():
            """Lets the answer begin, with the cookie that is right now."""
            nonlocal write
            if begun and not session.sent:
                session.sent = True
                status, headers, exc_info = begun
                write = start_response(status, headers + self.headers(session, had), exc_info)
            return write

        def answer(status, headers, body):
            """Takes the place of the application's answer, unless that is on its way."""
            if session.sent:
                raise
            start("%d %s" % (status, http.client.responses[status]), headers)
            return [body]

        def carried_out(step):
            """Whatever happens, the answer has the cookie: the token that came is spent."""
            try:
                return step()
            except InvalidToken:
                session.token = None
                # The path is bytes in the form of a text.
                whole = (environ.get("SCRIPT_NAME", "") + path).encode("latin-1")
                return answer(*self.refusal(whole, environ.get("QUERY_STRING", ""), environ.get("HTTP_ACCEPT", "")))
            except Unavailable:
                return answer(*self.UNAVAILABLE)
            except Exception:
                if not session.sent:
                    traceback.print_exc(file=environ["wsgi.errors"])
                return answer(*self.FAILED)

        def first_part():
            if had:
                session.begin()
            if session.meta is None and path not in self.public:
                raise InvalidToken()
            parts = self.app(environ, start)
            # An application that is a generator runs only now, up to its first part.
            return parts if isinstance(parts, (list, tuple)) else Parts(parts)

        parts = carried_out(first_part)
        commit()
        return parts


class Parts:
    """The parts of an answer, of which the first has been asked for."""

    def __init__(self, parts):
        self.parts, self.rest = parts, iter(parts)
        try:
            self.first = list(itertools.islice(self.rest, 1))
        except BaseException:
            self.close()
            raise

    def __iter__(self):
        return itertools.chain(self.first, self.rest)

    def close(self):
        if hasattr(self.parts, "close"):
            self.parts.close()


class ASGISessions(Sessions):
    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = {name: value.decode("latin-1") for name, value in scope["headers"]}
        # HTTP/2 has a header for each cookie.
        cookies = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
        had = self.token_of(";".join(cookies))
        session = scope["token.session"] = AsyncSession(self.client, had)
        begun = None  # what the application has begun to answer with

        async def commit():
            """Lets the answer begin, with the cookie that is right now."""
            if begun and not session.sent:
                session.sent = True
                added = [(n.lower().encode(), v.encode()) for n, v in self.headers(session, had)]
                await send({**begun, "headers": [*begun.get("headers", ()), *added]})

        async def send_with_cookie(message):
            nonlocal begun
            if message["type"] == "http.response.start" and not session.sent:
                begun = message  # waits for the first part: until then the session may change
                return
            await commit()
            await send(message)

        async def answer(status, headers, body):
            """Takes the place of the application's answer, unless that is on its way."""
            if session.sent:
                raise
            raw = [(name.lower().encode(), value.encode()) for name, value in headers]
            await send_with_cookie({"type": "http.response.start", "status": status, "headers": raw})
            await send_with_cookie({"type": "http.response.body", "body": body})

        # Whatever happens, the answer has the cookie: the token that came is spent.
        try:
            if had:
                await session.begin()
            if session.meta is None and scope["path"] not in self.public:
                raise InvalidToken()
            await self.app(scope, receive, send_with_cookie)
            await commit()
        except InvalidToken:
            session.token = None
            query = scope["query_string"].decode("latin-1")
            await answer(*self.refusal(scope["path"], query, request.get(b"accept", "")))
        except Unavailable:
            await answer(*self.UNAVAILABLE)
        except Exception:
            if not session.sent:
                traceback.print_exc()
            await answer(*self.FAILED)
