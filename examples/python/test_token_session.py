"""python -m unittest, with a real token server: TOKEN_SERVER names its program."""

import asyncio
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import wsgiref.simple_server

import django.conf
import django.core.wsgi
import django.http
import django.urls
import fastapi
import flask
import uvicorn

from token_session import ASGISessions, AsyncClient, Client, InvalidToken, Unavailable, WSGISessions, way_back

COOKIE = "token"


class TokenServer:
    """A token server of our own on a free port, and again on that one after a stop."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [os.environ["TOKEN_SERVER"], "--port", str(self.port), "--admin-address", "off",
             "--data-dir", self.folder.name, "--fsync", "everysec", "--grace", "10s"],
            stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"msg=listening address=[0-9.]+:(\d+)", line):
                self.port = int(found[1])
                break
        # Nobody waits for the rest of the log, and the pipe must not fill.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        while not self.ready():
            time.sleep(0.01)

    def ready(self):
        conn = http.client.HTTPConnection("127.0.0.1", self.port)
        conn.request("GET", "/readyz")
        status = conn.getresponse().status
        conn.close()
        return status == 200

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Browser:
    """Keeps one cookie, and follows nothing."""

    def __init__(self, port):
        self.port, self.cookie = port, None

    def get(self, path, accept="text/html"):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Accept": accept}
        if self.cookie is not None:
            headers["Cookie"] = "a=b; %s=%s" % (COOKIE, self.cookie)
        conn.request("GET", path, headers=headers)
        answer = conn.getresponse()
        body = answer.read().decode()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie" and value.startswith(COOKIE + "="):
                self.cookie = None if "Max-Age=0" in value else value[len(COOKIE) + 1:].split(";")[0]
        conn.close()
        return answer, body


def flask_app(client):
    app = flask.Flask("web")
    session = lambda: flask.request.environ["token.session"]
    app.register_error_handler(Unavailable, lambda err: ("later", 503))

    @app.get("/login")
    def login():
        session().login({"user": flask.request.args.get("user", "ada")}, subject="ada")
        return "welcome"

    @app.get("/")
    def page():
        return session().meta

    @app.get("/choose")
    def choose():
        session().update({"year": int(flask.request.args["year"])})
        return session().meta

    @app.get("/broken")
    def broken():
        raise ValueError("broken")

    @app.get("/stream")
    def stream():
        def parts():
            session().update({"year": int(flask.request.args["year"])})
            yield json.dumps(session().meta)

        return flask.Response(flask.stream_with_context(parts()))

    @app.get("/logout")
    def logout():
        session().logout()
        return "bye"

    return WSGISessions(app, client, cookie=COOKIE)


def django_app(client):
    def login(request):
        request.environ["token.session"].login({"user": "ada"})
        return django.http.HttpResponse("welcome")

    def page(request):
        return django.http.JsonResponse(request.environ["token.session"].meta)

    class urls:
        urlpatterns = [django.urls.path("login", login), django.urls.path("", page)]

    django.conf.settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"])
    return WSGISessions(django.core.wsgi.get_wsgi_application(), client, cookie=COOKIE)


def fastapi_app(client):
    app = fastapi.FastAPI()
    app.add_middleware(ASGISessions, client=client, cookie=COOKIE)

    @app.get("/login")
    async def login(request: fastapi.Request):
        await request.scope["token.session"].login({"user": "ada"}, subject="ada")
        return "welcome"

    @app.get("/")
    async def page(request: fastapi.Request):
        return request.scope["token.session"].meta

    @app.get("/choose")
    async def choose(request: fastapi.Request, year: int):
        await request.scope["token.session"].update({"year": year})
        return request.scope["token.session"].meta

    @app.get("/broken")
    async def broken():
        raise ValueError("broken")

    @app.get("/stream")
    async def stream(request: fastapi.Request, year: int):
        async def parts():
            await request.scope["token.session"].update({"year": year})
            yield json.dumps(request.scope["token.session"].meta)

        return fastapi.responses.StreamingResponse(parts())

    @app.get("/logout")
    async def logout(request: fastapi.Request):
        await request.scope["token.session"].logout()
        return "bye"

    return app


class QuietHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass

    def get_stderr(self):
        return open(os.devnull, "w")


class ThreadedServer(wsgiref.simple_server.WSGIServer):
    def process_request(self, request, address):
        threading.Thread(target=self.process_request_thread, args=(request, address), daemon=True).start()

    def process_request_thread(self, request, address):
        self.finish_request(request, address)
        self.shutdown_request(request)


def serve_wsgi(test, app):
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, ThreadedServer, QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    test.addCleanup(server.server_close)
    test.addCleanup(server.shutdown)
    return server.server_port


def serve_asgi(test, app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)

    def stop():
        server.should_exit = True
        thread.join()

    test.addCleanup(stop)
    return server.servers[0].sockets[0].getsockname()[1]


class TestSessions(unittest.TestCase):
    def setUp(self):
        self.server = TokenServer()
        self.addCleanup(self.server.folder.cleanup)
        self.addCleanup(self.server.stop)

    def test_flask(self):
        self.walk(Browser(serve_wsgi(self, flask_app(Client(port=self.server.port)))))

    def test_fastapi(self):
        self.walk(Browser(serve_asgi(self, fastapi_app(AsyncClient(port=self.server.port)))))

    def test_django(self):
        browser = Browser(serve_wsgi(self, django_app(Client(port=self.server.port))))
        self.assertEqual(browser.get("/")[0].status, 303)
        browser.get("/login")
        self.assertEqual(json.loads(browser.get("/")[1]), {"user": "ada"})

    def walk(self, browser):
        """One user's way, from the login to the log-out."""
        for path, back in (("/", "%2F"), ("/caf%C3%A9?a=b&c", "%2Fcaf%25C3%25A9%3Fa%3Db%26c")):
            answer, _ = browser.get(path)
            self.assertEqual((answer.status, answer.getheader("Location")), (303, "/login?next=" + back))
        self.assertEqual(browser.get("/", accept="application/json")[0].status, 401)

        browser.get("/login")
        first = browser.cookie
        answer, body = browser.get("/")
        self.assertEqual(json.loads(body), {"user": "ada"})
        self.assertNotEqual(browser.cookie, first, "the page left the spent token in the cookie")
        self.assertEqual(answer.getheader("Cache-Control"), "no-store")

        _, body = browser.get("/choose?year=2026")
        self.assertEqual(json.loads(body), {"user": "ada", "year": 2026})
        self.assertEqual(json.loads(browser.get("/")[1]), {"user": "ada", "year": 2026})

        # The first part of a stream may change the session too.
        _, body = browser.get("/stream?year=2027")
        self.assertEqual(json.loads(body), {"user": "ada", "year": 2027})
        self.assertEqual(json.loads(browser.get("/")[1]), {"user": "ada", "year": 2027})

        # A handler that fails leaves the user logged in.
        self.assertEqual(browser.get("/broken")[0].status, 500)
        self.assertEqual(browser.get("/")[0].status, 200)

        # Parallel requests with one cookie, within the grace.
        def get(i):
            other = Browser(browser.port)
            other.cookie = browser.cookie
            results[i] = other.get("/")[0].status, other.cookie

        results = [None] * 10
        threads = [threading.Thread(target=get, args=(i,)) for i in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([status for status, _ in results], [200] * 10)
        browser.cookie = results[-1][1]
        self.assertEqual(browser.get("/")[0].status, 200)

        # The token server away: 503 and never a login; afterwards the user is in again.
        self.server.stop()
        before = browser.cookie
        answer, _ = browser.get("/")
        self.assertEqual((answer.status, answer.getheader("Retry-After")), (503, "1"))
        self.assertEqual(browser.cookie, before)
        self.server.start()
        self.assertEqual(browser.get("/")[0].status, 200)

        # Garbage is nobody's token.
        garbled = Browser(browser.port)
        garbled.cookie = "x\u00e9\"{}" * 1000
        self.assertEqual(garbled.get("/")[0].status, 303)
        self.assertIsNotNone(garbled.cookie, "a refused cookie was taken away: it may be another answer's new one")

        copied = Browser(browser.port)
        copied.cookie = browser.cookie
        browser.get("/logout")
        self.assertIsNone(browser.cookie)
        self.assertEqual(copied.get("/")[0].status, 303)

    # What an application that streams does, and what the browser gets. Its token is spent in all cases.
    STREAMS = (
        ("nothing", "200", "begun end"),
        ("ValueError", "500", "Internal Server Error\n"),
        ("Unavailable", "503", "Please try again in a moment.\n"),
        ("InvalidToken", "303", ""),
        ("update", "200", "begun end"),
        ("late ValueError", "200", "begun ValueError"),
        ("late update", "200", "begun RuntimeError"),
        ("late logout", "200", "begun RuntimeError"),
    )
    RAISED = {"ValueError": ValueError(), "Unavailable": Unavailable(), "InvalidToken": InvalidToken()}

    def test_wsgi_application_that_is_a_generator(self):
        """It runs, begins its answer and fails when its parts are asked for."""
        client, closed = Client(port=self.server.port), []
        for does, want_status, want_body in self.STREAMS:
            got = []
            do = does.removeprefix("late ")

            def act(session):
                if do in self.RAISED:
                    raise self.RAISED[do]
                if do != "nothing":
                    getattr(session, do)()

            def app(environ, start_response):
                try:
                    start_response("200 OK", [])
                    if do == does:
                        act(environ["token.session"])
                    yield b"begun "
                    if do != does:
                        act(environ["token.session"])
                    yield b"end"
                finally:
                    closed.append(does)

            token, body = client.create({}), b""
            environ = {"HTTP_COOKIE": "token=" + token, "PATH_INFO": "/", "wsgi.errors": io.StringIO()}
            parts = WSGISessions(app, client, cookie=COOKIE)(environ, lambda *args: got.append(args[:2]))
            try:
                for part in parts:
                    body += part
            except Exception as err:
                body += type(err).__name__.encode()
            getattr(parts, "close", list)()
            self.assertEqual((len(got), body.decode()), (1, want_body), does)
            self.check_stream(does, client, got[0][0], dict(got[0][1]), want_status)
        self.assertEqual(closed, [does for does, _, _ in self.STREAMS])

    def test_asgi_application_that_streams(self):
        client = AsyncClient(port=self.server.port)
        for does, want_status, want_body in self.STREAMS:
            got = []
            do = does.removeprefix("late ")

            async def act(session):
                if do in self.RAISED:
                    raise self.RAISED[do]
                if do != "nothing":
                    await getattr(session, do)()

            async def app(scope, receive, send):
                await send({"type": "http.response.start", "status": 200})
                if do == does:
                    await act(scope["token.session"])
                await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
                if do != does:
                    await act(scope["token.session"])
                await send({"type": "http.response.body", "body": b"end"})

            async def send(message):
                got.append(message)

            token = client.blocking.create({})
            scope = {"type": "http", "path": "/", "query_string": b"", "headers": [(b"cookie", b"token=" + token.encode())]}
            body = ""
            try:
                asyncio.run(ASGISessions(app, client, cookie=COOKIE)(scope, None, send))
            except Exception as err:
                body = type(err).__name__
            start, *parts = got
            body = b"".join(part["body"] for part in parts).decode() + body
            self.assertEqual(([m["type"] for m in got].count("http.response.start"), body), (1, want_body), does)
            headers = {name.decode().title(): value.decode() for name, value in start["headers"]}
            self.check_stream(does, client.blocking, str(start["status"]), headers, want_status)

    def check_stream(self, does, client, status, headers, want_status):
        """The status, and that the browser has a token that is good, unless it was told to log in."""
        self.assertEqual(status[:3], want_status, does)
        if want_status != "303":
            client.exchange(headers["Set-Cookie"].split(";")[0].removeprefix(COOKIE + "="))

    def test_exchanges_of_one_moment_travel_together(self):
        client = AsyncClient(port=self.server.port)
        sent = []
        batch = client.blocking.batch
        client.blocking.batch = lambda items: sent.append(len(items)) or batch(items)

        async def exchanges():
            tokens = [client.blocking.create({"n": n}) for n in range(50)]
            return await asyncio.gather(*(client.exchange(token, {"seen": True}) for token in tokens))

        got = asyncio.run(exchanges())
        self.assertEqual([meta for _, meta in got], [{"n": n, "seen": True} for n in range(50)])
        self.assertEqual(sent, [50])

    def test_bad_metadata_is_nobody_elses_fault(self):
        client = AsyncClient(port=self.server.port)

        async def exchanges(bad):
            tokens = [client.blocking.create({}) for _ in range(5)]
            patches = [{"n": 1}, {"n": 2}, bad, {"n": 3}, {"n": 4}]
            answers = [client.exchange(token, patch) for token, patch in zip(tokens, patches)]
            return await asyncio.gather(*answers, return_exceptions=True)

        for bad in ({"n": "\ud800"}, {"n": object()}):
            got = asyncio.run(exchanges(bad))
            self.assertIsInstance(got.pop(2), Unavailable)
            self.assertEqual([meta for _, meta in got], [{"n": n} for n in (1, 2, 3, 4)])

    def test_cookies_in_headers_of_their_own(self):
        """HTTP/2 sends them so."""
        client, seen = AsyncClient(port=self.server.port), []

        async def app(scope, receive, send):
            seen.append(scope["token.session"].meta)

        token = client.blocking.create({"user": "ada"})
        scope = {"type": "http", "path": "/", "query_string": b"",
                 "headers": [(b"cookie", b"token=" + token.encode()), (b"cookie", b"a=b")]}

        async def send(message):
            seen.append(message)

        asyncio.run(ASGISessions(app, client, cookie=COOKIE)(scope, None, send))
        self.assertEqual(seen, [{"user": "ada"}])

    def test_nothing_is_sent_twice(self):
        """A connection that breaks behind a request must not make it two."""
        received = []

        def answer_once():
            while True:
                try:
                    conn, _ = listener.accept()
                except OSError:
                    return
                with conn, conn.makefile("rb") as lines:
                    for line in lines:
                        if not line.endswith(b" HTTP/1.1\r\n"):
                            continue
                        received.append(line)
                        if len(received) > 1:
                            break
                        conn.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=answer_once, daemon=True).start()
            client = Client(port=listener.getsockname()[1])
            client.delete("x")  # leaves a connection behind
            with self.assertRaises(Unavailable):
                client.exchange("x")
            listener.shutdown(socket.SHUT_RDWR)
        self.assertEqual(len(received), 2)

    def test_way_back(self):
        for path, want in (("/a?b", "/a?b"), ("//evil", "/"), ("/\\evil", "/"), ("https:evil", "/"), ("", "/"), ("/\nx", "/"), ("/\u20ac", "/")):
            self.assertEqual(way_back(path), want, path)


if __name__ == "__main__":
    unittest.main()
