package example;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.Cookie;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;

/**
 * Sessions of Token Server in a servlet filter.
 *
 * <p>Each request exchanges the token of its cookie once: the old token is spent, the new one goes
 * into the answer's cookie. {@link #of} gives a servlet the session. A change of the metadata is
 * one more exchange, at once, so it has to come before the answer is committed.
 *
 * <p>What must not be, and is not: a PUT or POST that is sent again, since its token may be spent
 * already (java.net.http repeats GET and HEAD alone; leave jdk.httpclient.enableAllMethodRetry
 * unset), a redirect that is followed, an answer that is cached, an error of the token server that
 * looks like a log-out. A page that sends several requests at once needs a token server with
 * --grace, since each of them presents the same token.
 */
public final class TokenSessionFilter implements Filter {
  /** The token is spent, expired or unknown: the user has to log in. */
  public static final class InvalidToken extends RuntimeException {}

  /** No answer, or none that says anything of the token: answer 503, and keep the cookie. */
  public static final class Unavailable extends RuntimeException {
    private final int status; // that was answered, or 0

    Unavailable(String message, int status, Throwable cause) {
      super(message, cause);
      this.status = status;
    }
  }

  private final Client client;
  private final String cookie;
  private final String login;
  private final Set<String> open;

  /** Requests to the login page and to open paths need no session. */
  public TokenSessionFilter(Client client, String cookie, String login, Set<String> open) {
    this.client = client;
    this.cookie = cookie;
    this.login = login;
    this.open = open;
  }

  /** The session of a request. */
  public static Session of(HttpServletRequest request) {
    return (Session) request.getAttribute(Session.class.getName());
  }

  @Override
  public void doFilter(ServletRequest req, ServletResponse res, FilterChain chain)
      throws IOException, ServletException {
    var request = (HttpServletRequest) req;
    var response = (HttpServletResponse) res;
    response.setHeader("Cache-Control", "no-store");
    response.addHeader("Vary", "Cookie");
    var session = new Session(response, tokenOf(request));
    request.setAttribute(Session.class.getName(), session);
    // Whatever happens, the answer has the cookie: the token that came is spent.
    try {
      session.begin();
      String path = request.getRequestURI();
      if (session.meta == null && !path.equals(login) && !open.contains(path)) {
        throw new InvalidToken();
      }
      chain.doFilter(request, response);
    } catch (InvalidToken e) {
      refuse(request, response);
    } catch (Unavailable e) {
      request.getServletContext().log("token server", e);
      response.setHeader("Retry-After", "1");
      answer(response, 503, "text/plain", "Please try again in a moment.\n");
    } catch (RuntimeException | ServletException e) {
      request.getServletContext().log("failed", e);
      answer(response, 500, "text/plain", "Internal Server Error\n");
    }
  }

  private String tokenOf(HttpServletRequest request) {
    if (request.getCookies() != null) {
      for (Cookie c : request.getCookies()) {
        if (c.getName().equals(cookie)) {
          return c.getValue();
        }
      }
    }
    return null;
  }

  private void refuse(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String accept = request.getHeader("Accept");
    if (accept != null && accept.contains("application/json")) {
      answer(response, 401, "application/json", "{\"Err\":\"InvalidToken\"}");
      return;
    }
    String query = request.getQueryString() == null ? "" : "?" + request.getQueryString();
    String back = URLEncoder.encode(request.getRequestURI() + query, StandardCharsets.UTF_8);
    response.setHeader("Location", login + "?next=" + back);
    answer(response, 303, "text/plain", "");
  }

  /** Answers in place of the servlet, unless its answer is on its way. The cookies stay. */
  private static void answer(HttpServletResponse response, int status, String type, String body)
      throws IOException {
    if (response.isCommitted()) {
      return;
    }
    var kept = new LinkedHashMap<String, List<String>>();
    for (String name : List.of("Set-Cookie", "Cache-Control", "Vary", "Location", "Retry-After")) {
      kept.put(name, List.copyOf(response.getHeaders(name)));
    }
    response.reset();
    kept.forEach((name, values) -> values.forEach(value -> response.addHeader(name, value)));
    response.setStatus(status);
    response.setContentType(type);
    response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
  }

  /** Where to go after the login: a page of ours, whatever the query said. */
  public static String wayBack(String path) {
    return path != null && path.matches("/(?![/\\\\])[\\x21-\\x7e]*") ? path : "/";
  }

  /** The session of one request. */
  public final class Session {
    private final HttpServletResponse response;
    private String token;
    private JsonObject meta;

    private Session(HttpServletResponse response, String token) {
      this.response = response;
      this.token = token;
    }

    /** The metadata, or null where there is no session. */
    public JsonObject meta() {
      return meta;
    }

    /** Patches the metadata: a member that is in the patch takes its value. */
    public void update(JsonObject patch) {
      inTime();
      adopt(Client.await(client.exchange(token, patch)));
    }

    /** Begins a new session, and ends the one before. The subject is whose it is. */
    public void login(JsonObject first, String subject) {
      inTime();
      String before = token;
      token = client.create(first, subject);
      meta = first;
      setCookie();
      try {
        if (before != null) {
          client.delete(before);
        }
      } catch (Unavailable e) {
        // It is nobody's but who has copied its token, until it expires.
      }
    }

    public void logout() {
      inTime();
      if (token != null) {
        client.delete(token);
        token = null;
        setCookie();
      }
      meta = null;
    }

    /** A token that is spent too late for the cookie would be the user's last. */
    private void inTime() {
      if (response.isCommitted()) {
        throw new IllegalStateException("the answer has begun: the session can't change any more");
      }
    }

    private void begin() {
      if (token == null) {
        return;
      }
      try {
        adopt(Client.await(client.exchange(token, null)));
      } catch (InvalidToken e) {
        // The cookie stays: a request beside this one may have set the next one.
      }
    }

    private void adopt(JsonObject exchanged) {
      token = exchanged.get("token").getAsString();
      meta = exchanged.getAsJsonObject("meta");
      setCookie();
    }

    private void setCookie() {
      var others = new ArrayList<>(response.getHeaders("Set-Cookie"));
      others.removeIf(c -> c.startsWith(cookie + "="));
      // A cookie without Secure is for plain HTTP on loopback.
      String attributes = "; Path=/; HttpOnly; SameSite=Lax" + (cookie.startsWith("__Host-") ? "; Secure" : "");
      String value = token == null ? cookie + "=" + attributes + "; Max-Age=0" : cookie + "=" + token + attributes;
      response.setHeader("Set-Cookie", value);
      others.forEach(c -> response.addHeader("Set-Cookie", c));
    }
  }

  /** Calls one token server. Exchanges made while others are under way travel together. */
  public static final class Client {
    private static final int MAX_BATCH = 256;
    private static final Duration TIMEOUT = Duration.ofSeconds(2);
    private static final Gson GSON = new Gson();

    private record Call(JsonObject item, CompletableFuture<JsonObject> answer) {}

    private final HttpClient http =
        HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .followRedirects(HttpClient.Redirect.NEVER)
            .connectTimeout(Duration.ofSeconds(1))
            .build();
    private final URI uri;
    private final String secret;
    private final Queue<Call> waiting = new ArrayDeque<>(); // guarded by this
    private boolean sending; // guarded by this

    /** secret is null where the token server asks for none. */
    public Client(URI uri, String secret) {
      this.uri = uri;
      this.secret = secret;
    }

    public String create(JsonObject meta, String subject) {
      var body = new JsonObject();
      body.add("meta", meta);
      body.addProperty("subject", subject);
      return await(call("POST", "/token", body));
    }

    public void delete(String token) {
      var body = new JsonObject();
      body.addProperty("token", token);
      await(call("DELETE", "/token", body));
    }

    public void endSubject(String subject) {
      var body = new JsonObject();
      body.addProperty("subject", subject);
      await(call("DELETE", "/subject", body));
    }

    /** Spends the token. The answer has the next one and the metadata, patched. */
    public CompletableFuture<JsonObject> exchange(String token, JsonObject patch) {
      var exchange = new JsonObject();
      exchange.addProperty("token", token);
      exchange.add("meta", patch == null ? null : patch.deepCopy()); // it may change meanwhile
      var item = new JsonObject();
      item.add("exchange", exchange);
      var call = new Call(item, new CompletableFuture<>());
      synchronized (this) {
        waiting.add(call);
      }
      sendNext();
      return call.answer;
    }

    private void sendNext() {
      List<Call> calls = new ArrayList<>();
      synchronized (this) {
        if (sending || waiting.isEmpty()) {
          return;
        }
        sending = true;
        while (!waiting.isEmpty() && calls.size() < MAX_BATCH) {
          calls.add(waiting.remove());
        }
      }
      send(calls).whenComplete((done, err) -> {
        synchronized (this) {
          sending = false;
        }
        sendNext();
      });
    }

    /** Sends calls as a batch. What is returned is complete when all are answered. */
    private CompletableFuture<Void> send(List<Call> calls) {
      var items = new JsonArray();
      calls.forEach(c -> items.add(c.item));
      var body = new JsonObject();
      body.add("batch", items);
      return call("POST", "/token/batch", body)
          .handle((answer, err) -> {
            if (refusedWhole(err) && calls.size() > 1) {
              int half = calls.size() / 2;
              return send(calls.subList(0, half)).thenCompose(done -> send(calls.subList(half, calls.size())));
            }
            settle(calls, answer, err);
            return CompletableFuture.<Void>completedFuture(null);
          })
          .thenCompose(sent -> sent);
    }

    /** One bad item has all refused, with nothing carried out: that is not the others' fault. */
    private static boolean refusedWhole(Throwable err) {
      var cause = err instanceof CompletionException ? err.getCause() : err;
      return cause instanceof Unavailable away && (away.status == 400 || away.status == 413);
    }

    private static void settle(List<Call> calls, String answer, Throwable err) {
      try {
        if (err != null) {
          throw err instanceof CompletionException ? err.getCause() : err;
        }
        var answers = GSON.fromJson(answer, JsonObject.class).getAsJsonArray("Ok");
        for (int i = 0; i < calls.size(); i++) {
          settle(calls.get(i), answers.get(i).getAsJsonObject());
        }
      } catch (Throwable t) {
        // Whatever it was, somebody waits for it.
        var cause = t instanceof Unavailable ? t : new Unavailable("token server", 0, t);
        calls.forEach(c -> c.answer.completeExceptionally(cause));
      }
    }

    private static void settle(Call call, JsonObject answer) {
      JsonElement failed = answer.get("Err");
      if (failed == null) {
        call.answer.complete(answer.getAsJsonObject("Ok"));
      } else if (failed.getAsString().equals("InvalidToken")) {
        call.answer.completeExceptionally(new InvalidToken());
      } else {
        call.answer.completeExceptionally(new Unavailable(failed.getAsString(), 0, null));
      }
    }

    private CompletableFuture<String> call(String method, String path, JsonObject body) {
      var request =
          HttpRequest.newBuilder(uri.resolve(path))
              .method(method, HttpRequest.BodyPublishers.ofString(GSON.toJson(body)))
              .header("Content-Type", "application/json");
      if (secret != null) {
        request.header("Authorization", "Bearer " + secret);
      }
      var sent = http.sendAsync(request.build(), HttpResponse.BodyHandlers.ofString());
      // The time-out of a HttpRequest ends with the head of the answer.
      return sent.thenApply(answer -> answer)
          .orTimeout(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)
          .handle((answer, err) -> {
            sent.cancel(true); // closes the connection, unless the answer is there
            if (err != null) {
              throw new Unavailable("token server", 0, err);
            }
            if (answer.statusCode() != 200 && answer.statusCode() != 202) {
              throw new Unavailable("token server: status " + answer.statusCode(), answer.statusCode(), null);
            }
            return answer.body();
          });
    }

    static <T> T await(CompletableFuture<T> answer) {
      try {
        return answer.join();
      } catch (CompletionException e) {
        throw e.getCause() instanceof RuntimeException cause ? cause : e;
      }
    }
  }
}
