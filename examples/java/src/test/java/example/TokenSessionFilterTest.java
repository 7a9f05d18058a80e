package example;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.gson.JsonObject;
import example.TokenSessionFilter.Client;
import jakarta.servlet.DispatcherType;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.Writer;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Runs with a real token server: TOKEN_SERVER names its program. */
class TokenSessionFilterTest {
  /** A token server of our own on a free port, and again on that one after a stop. */
  static final class TokenServer implements AutoCloseable {
    private static final Pattern LISTENING = Pattern.compile("msg=listening address=[0-9.]+:(\\d+)");
    private final Path folder;
    private Process process;
    private String port = "0";

    TokenServer(Path folder) throws Exception {
      this.folder = folder;
      start();
    }

    void start() throws Exception {
      process =
          new ProcessBuilder(System.getenv("TOKEN_SERVER"), "--port", port, "--admin-address", "off",
                  "--data-dir", folder.toString(), "--fsync", "everysec", "--grace", "10s")
              .redirectErrorStream(true)
              .start();
      var log = new BufferedReader(new InputStreamReader(process.getInputStream()));
      for (String line; (line = log.readLine()) != null; ) {
        var found = LISTENING.matcher(line);
        if (found.find()) {
          port = found.group(1);
          break;
        }
      }
      // Nobody waits for the rest of the log, and the pipe must not fill.
      var drain = new Thread(() -> {
        try {
          log.transferTo(Writer.nullWriter());
        } catch (IOException e) {
          // The process has ended.
        }
      });
      drain.setDaemon(true);
      drain.start();
      var ready = HttpRequest.newBuilder(uri().resolve("/readyz")).build();
      while (HttpClient.newHttpClient().send(ready, HttpResponse.BodyHandlers.discarding()).statusCode() != 200) {}
    }

    URI uri() {
      return URI.create("http://127.0.0.1:" + port);
    }

    @Override
    public void close() throws InterruptedException {
      process.destroy();
      process.waitFor();
    }
  }

  static final class Pages extends HttpServlet {
    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
      var session = TokenSessionFilter.of(request);
      switch (request.getRequestURI()) {
        case "/login" -> session.login(member("user", "ada"), "ada");
        case "/choose" -> session.update(member("year", request.getParameter("year")));
        case "/broken" -> {
          response.getWriter().print("begun");
          throw new IllegalStateException("broken");
        }
        case "/late" -> {
          response.flushBuffer();
          session.update(member("late", "yes"));
        }
        case "/logout" -> session.logout();
        default -> {}
      }
      response.getWriter().print(session.meta());
    }
  }

  static JsonObject member(String name, String value) {
    var object = new JsonObject();
    object.addProperty(name, value);
    return object;
  }

  /** Keeps one cookie, and follows nothing. */
  static final class Browser {
    private static final Pattern COOKIE = Pattern.compile("token=([^;]*).*");
    private final HttpClient http = HttpClient.newHttpClient();
    private final URI uri;
    String cookie;

    Browser(URI uri, String cookie) {
      this.uri = uri;
      this.cookie = cookie;
    }

    HttpResponse<String> get(String path, String... headers) {
      return getAsync(path, headers).join();
    }

    CompletableFuture<HttpResponse<String>> getAsync(String path, String... headers) {
      var request = HttpRequest.newBuilder(uri.resolve(path));
      if (cookie != null) {
        request.header("Cookie", "a=b; token=" + cookie);
      }
      if (headers.length > 0) {
        request.headers(headers);
      }
      return http.sendAsync(request.build(), HttpResponse.BodyHandlers.ofString()).thenApply(answer -> {
        var cookies = answer.headers().allValues("Set-Cookie");
        assertEquals(true, cookies.size() <= 1, "cookies: " + cookies);
        for (String set : cookies) {
          var found = COOKIE.matcher(set);
          found.matches();
          cookie = set.contains("Max-Age=0") ? null : found.group(1);
        }
        return answer;
      });
    }
  }

  @Test
  void sessions(@TempDir Path folder) throws Exception {
    try (var tokens = new TokenServer(folder)) {
      var web = serve(new TokenSessionFilter(new Client(tokens.uri(), null), "token", "/login", Set.of()));
      try {
        walk(tokens, new Browser(URI.create("http://127.0.0.1:" + ((ServerConnector) web.getConnectors()[0]).getLocalPort()), null));
      } finally {
        web.stop();
      }
    }
  }

  private static Server serve(TokenSessionFilter filter) throws Exception {
    var server = new Server();
    var connector = new ServerConnector(server);
    connector.setHost("127.0.0.1");
    server.addConnector(connector);
    var context = new ServletContextHandler();
    context.addFilter(new FilterHolder(filter), "/*", EnumSet.of(DispatcherType.REQUEST));
    context.addServlet(new ServletHolder(new Pages()), "/*");
    server.setHandler(context);
    server.start();
    return server;
  }

  private static void walk(TokenServer tokens, Browser browser) throws Exception {
    var answer = browser.get("/a?b=c");
    assertEquals(303, answer.statusCode());
    assertEquals("/login?next=%2Fa%3Fb%3Dc", answer.headers().firstValue("Location").get());
    assertEquals(401, browser.get("/", "Accept", "application/json").statusCode());

    browser.get("/login");
    String first = browser.cookie;
    answer = browser.get("/");
    assertEquals("{\"user\":\"ada\"}", answer.body());
    assertNotEquals(first, browser.cookie, "the page left the spent token in the cookie");
    assertEquals("no-store", answer.headers().firstValue("Cache-Control").get());

    assertEquals("{\"user\":\"ada\",\"year\":\"2026\"}", browser.get("/choose?year=2026").body());
    assertEquals("{\"user\":\"ada\",\"year\":\"2026\"}", browser.get("/").body());

    // A servlet that fails leaves the user logged in.
    assertEquals(500, browser.get("/broken").statusCode());
    assertEquals(200, browser.get("/").statusCode());

    // A change that is too late for the cookie is none.
    browser.get("/late");
    assertEquals("{\"user\":\"ada\",\"year\":\"2026\"}", browser.get("/").body());

    // Parallel requests with one cookie, within the grace.
    var tabs = new ArrayList<Browser>();
    var answers = new ArrayList<CompletableFuture<HttpResponse<String>>>();
    for (int i = 0; i < 10; i++) {
      tabs.add(new Browser(browser.uri, browser.cookie));
      answers.add(tabs.get(i).getAsync("/"));
    }
    for (var parallel : answers) {
      assertEquals(200, parallel.join().statusCode());
    }
    browser.cookie = tabs.get(9).cookie;
    assertEquals(200, browser.get("/").statusCode());

    // The token server away: 503 and never a login; afterwards the user is in again.
    tokens.close();
    String before = browser.cookie;
    answer = browser.get("/");
    assertEquals(503, answer.statusCode());
    assertEquals("1", answer.headers().firstValue("Retry-After").get());
    assertEquals(before, browser.cookie);
    tokens.start();
    assertEquals(200, browser.get("/").statusCode());

    var garbled = new Browser(browser.uri, "x{}%".repeat(1000));
    answer = garbled.get("/");
    assertEquals(303, answer.statusCode());
    assertEquals(0, answer.headers().allValues("Set-Cookie").size());

    var copied = new Browser(browser.uri, browser.cookie);
    browser.get("/logout");
    assertNull(browser.cookie);
    assertEquals(303, copied.get("/").statusCode());
  }

  @Test
  void exchangesOfOneMomentTravelTogether(@TempDir Path folder) throws Exception {
    try (var tokens = new TokenServer(folder)) {
      var client = new Client(tokens.uri(), null);
      var answers = new ArrayList<CompletableFuture<JsonObject>>();
      var fresh = new ArrayList<String>();
      for (int n = 0; n < 50; n++) {
        fresh.add(client.create(member("n", "" + n), null));
      }
      for (String token : fresh) {
        answers.add(client.exchange(token, member("seen", "yes")));
      }
      for (int n = 0; n < 50; n++) {
        assertEquals("{\"n\":\"" + n + "\",\"seen\":\"yes\"}", answers.get(n).join().get("meta").toString());
      }
    }
  }

  @Test
  void aBadPatchFailsAlone(@TempDir Path folder) throws Exception {
    try (var tokens = new TokenServer(folder)) {
      var client = new Client(tokens.uri(), null);
      String one = client.create(new JsonObject(), null);
      String two = client.create(new JsonObject(), null);
      String three = client.create(new JsonObject(), null);
      var first = client.exchange(one, null); // the others go behind it, together
      var nested = new JsonObject();
      for (int i = 0; i < 100; i++) {
        var outer = new JsonObject();
        outer.add("deeper", nested);
        nested = outer;
      }
      var bad = client.exchange(two, nested);
      var good = client.exchange(three, member("good", "yes"));
      first.join();
      assertEquals("{\"good\":\"yes\"}", good.join().get("meta").toString());
      assertThrows(TokenSessionFilter.Unavailable.class, () -> Client.await(bad));
    }
  }

  /** A connection that breaks behind a request must not make it two. */
  @Test
  void nothingIsSentTwice() throws Exception {
    var received = new AtomicInteger();
    try (var socket = new ServerSocket(0)) {
      var stub = new Thread(() -> {
        while (!socket.isClosed()) {
          try (var conn = socket.accept()) {
            answerOnce(conn, received);
          } catch (IOException e) {
            return;
          }
        }
      });
      stub.start();
      var client = new Client(URI.create("http://127.0.0.1:" + socket.getLocalPort()), null);
      client.delete("x"); // leaves a connection behind
      var answer = client.exchange("x", null);
      assertThrows(TokenSessionFilter.Unavailable.class, () -> Client.await(answer));
    }
    assertEquals(2, received.get());
  }

  /** An answer that begins and then stalls is none, and its connection is closed. */
  @Test
  void anAnswerThatStalls() throws Exception {
    try (var socket = new ServerSocket(0)) {
      var closed = CompletableFuture.supplyAsync(() -> {
        try (var conn = socket.accept()) {
          conn.getOutputStream().write("HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\nhalf".getBytes());
          conn.getInputStream().transferTo(OutputStream.nullOutputStream());
        } catch (IOException e) {
          // A reset is an end too.
        }
        return true;
      });
      var client = new Client(URI.create("http://127.0.0.1:" + socket.getLocalPort()), null);
      var answer = client.exchange("x", null);
      answer.exceptionally(err -> null).get(30, TimeUnit.SECONDS);
      assertThrows(TokenSessionFilter.Unavailable.class, () -> Client.await(answer));
      assertEquals(true, closed.get(30, TimeUnit.SECONDS));
    }
  }

  /** Answers the first request of all, and closes the connection behind the next one. */
  private static void answerOnce(Socket conn, AtomicInteger received) throws IOException {
    var lines = new BufferedReader(new InputStreamReader(conn.getInputStream()));
    for (String line; (line = lines.readLine()) != null; ) {
      if (line.endsWith(" HTTP/1.1")) {
        if (received.incrementAndGet() > 1) {
          return;
        }
        conn.getOutputStream().write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".getBytes());
      }
    }
  }

  @Test
  void wayBack() {
    assertEquals("/a?b", TokenSessionFilter.wayBack("/a?b"));
    for (String bad : new String[] {"//evil", "/\\evil", "/\t/evil", "https:evil", "", "/\nx", null}) {
      assertEquals("/", TokenSessionFilter.wayBack(bad));
    }
  }
}
