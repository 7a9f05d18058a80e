<?php

declare(strict_types=1);

/**
 * Sessions of Token Server behind $_SESSION. No extension is needed:
 *
 *   require 'TokenSession.php';
 *   TokenSession::start();                  // in place of session_start()
 *   $_SESSION['year'] = 2026;               // before the first byte of the answer
 *
 * start() exchanges the token of the cookie: the old token is spent, the new one goes
 * into the answer's cookie. What the page changes in $_SESSION goes as a patch with one
 * more exchange, when the headers are sent, since that makes a new cookie too. What is
 * changed after the first byte is lost, as a cookie would be: output_buffering helps.
 * PHP has one header_register_callback(): a page that calls it itself calls save() there.
 *
 * session_regenerate_id() begins a new session with what $_SESSION has, also where there
 * was none, and ends the old one. session_destroy() throws where nothing was ended.
 *
 * What must not be, and is not: a PUT that is sent again (its token may be spent
 * already), a redirect that is followed, an answer that is cached, an error of the token
 * server that looks like a log-out: TokenServerUnavailable is for an answer with 503. A
 * page that sends several requests at once needs a token server with --grace, since each
 * of them presents the same token.
 */
final class TokenSession implements SessionHandlerInterface, SessionIdInterface
{
    // PHP wants some id; the token is not one, since it changes.
    private const ID = 'token-server';
    // The member of the metadata that keeps the subject, for the session that follows.
    private const SUBJECT = 'subject';

    private static ?self $current = null;

    private ?string $token;
    /** @var array<string, mixed> the metadata that the token server has, but for the subject */
    private array $meta = [];
    private ?string $subject = null;
    private bool $alive = false;

    private function __construct(private TokenServer $server, private string $cookie)
    {
        // token[a]=1 makes an array of it.
        $this->token = is_string($_COOKIE[$cookie] ?? null) ? $_COOKIE[$cookie] : null;
    }

    /** Begins the session of this request. __Host- needs https; "token" is for http on loopback. */
    public static function start(?TokenServer $server = null, string $cookie = '__Host-token'): void
    {
        $session = self::$current = new self($server ?? new TokenServer(), $cookie);
        ini_set('session.use_cookies', '0');                    // the cookie is ours
        ini_set('session.use_strict_mode', '0');
        ini_set('session.serialize_handler', 'php_serialize');
        ini_set('session.gc_probability', '0');                 // the token server's work
        session_cache_limiter('nocache');
        session_set_save_handler($session, true);
        $session->exchange();
        session_id(self::ID);
        session_start();
        header_register_callback(static function () use ($session): void {
            if (session_status() === PHP_SESSION_ACTIVE) {
                $session->sendOrFail($_SESSION);
            }
            self::neverCached();
        });
    }

    /** Sends the changes of $_SESSION now, for a page that wants to know that it worked. */
    public static function save(): void
    {
        self::$current->send($_SESSION);
    }

    /** Whether the user is logged in. */
    public static function alive(): bool
    {
        return self::$current?->alive ?? false;
    }

    /** Begins a new session, whatever token the browser had. The subject is whose it is. */
    public static function login(array $meta, ?string $subject = null): void
    {
        self::$current->begin($meta, $subject);
        $_SESSION = $meta;
    }

    public static function logout(): void
    {
        self::$current->end();
        $_SESSION = [];
    }

    /** Ends all of the user's sessions, on every device. */
    public static function logoutEverywhere(string $subject): void
    {
        self::$current->server->endSubject($subject);
        self::$current->forget();
        $_SESSION = [];
    }

    /** Where to go after the login: a page of ours, whatever the query said. */
    public static function wayBack(string $path): string
    {
        return preg_match('~^/(?![/\\\\])[\x21-\x7e]*$~D', $path) ? $path : '/';
    }

    // The body may be on its way here, and nobody is left to catch anything: all that can be
    // done is to say that this failed.
    private function sendOrFail(array $session): bool
    {
        try {
            $this->send($session);
            return true;
        } catch (TokenServerUnavailable $e) {
            header('Retry-After: 1');
            http_response_code(503);
        } catch (JsonException $e) {
            http_response_code(500);
        }
        error_log($e->getMessage());
        return false;
    }

    /** What becomes of values as JSON. */
    private static function plain(array $session): array
    {
        return json_decode(json_encode((object) $session, TokenServer::JSON), true);
    }

    /** Beside what the page has set: it may have replaced the header of either name. */
    private static function neverCached(): void
    {
        $all = strtolower(implode("\n", headers_list()));
        if (!preg_match('/^vary:.*(\bcookie\b|\*)/m', $all)) {
            header('Vary: Cookie', false);
        }
        if (!preg_match('/^cache-control:.*\bno-store\b/m', $all)) {
            header('Cache-Control: no-store');
        }
    }

    /** Sends what differs from the metadata. That is JSON, and comes back as arrays: so it is compared. */
    private function send(array $session): void
    {
        unset($session[self::SUBJECT]);
        $after = self::plain($session);
        $changed = fn ($value, $name) => !array_key_exists($name, $this->meta) || $this->meta[$name] !== $value;
        $patch = array_filter($after, $changed, ARRAY_FILTER_USE_BOTH);
        $unset = array_map('strval', array_keys(array_diff_key($this->meta, $after)));
        if ($this->alive && ($patch || $unset)) {
            $this->exchange($patch, $unset);
        }
    }

    private function exchange(array $patch = [], array $unset = []): void
    {
        if ($this->token === null) {
            return;
        }
        $answer = $this->server->exchange($this->token, $patch, $unset);
        if ($answer !== null) {
            $this->adopt(...$answer);
            return;
        }
        // The cookie stays: a request beside this one may have set the next one.
        [$this->meta, $this->alive] = [[], false];
    }

    private function adopt(string $token, array $meta): void
    {
        $this->subject = $meta[self::SUBJECT] ?? null;
        unset($meta[self::SUBJECT]);
        [$this->token, $this->meta, $this->alive] = [$token, $meta, true];
        $this->setCookie($token);
    }

    /** Begins a new session, and then ends the one before: who has the token of that has nothing. */
    private function begin(array $meta, ?string $subject): void
    {
        $before = $this->token;
        unset($meta[self::SUBJECT]);
        $meta += $subject === null ? [] : [self::SUBJECT => $subject];
        $this->adopt($this->server->create($meta, $subject), $meta);
        try {
            if ($before !== null) {
                $this->server->delete($before);
            }
        } catch (TokenServerUnavailable $e) {
            error_log('the session before was not ended: ' . $e->getMessage());
        }
    }

    private function forget(): void
    {
        if ($this->token !== null) {
            $this->setCookie('', 1);
        }
        [$this->token, $this->meta, $this->subject, $this->alive] = [null, [], null, false];
    }

    /** Throws, and keeps the cookie, where the session may live on. */
    private function end(): void
    {
        if ($this->token !== null) {
            $this->server->delete($this->token);
        }
        $this->forget();
    }

    private function setCookie(string $value, int $expires = 0): void
    {
        setcookie($this->cookie, $value, [
            'expires' => $expires, 'path' => '/', 'httponly' => true, 'samesite' => 'Lax',
            'secure' => str_starts_with($this->cookie, '__Host-'),
        ]);
    }

    // What PHP calls.

    public function open(string $path, string $name): bool
    {
        return true;
    }

    public function close(): bool
    {
        return true;
    }

    public function read(string $id): string
    {
        return serialize($this->meta);
    }

    public function write(string $id, string $data): bool
    {
        // Once headers are on their way, their callback has sent it.
        return headers_sent() || $this->sendOrFail(unserialize($data));
    }

    public function destroy(string $id): bool
    {
        // session_regenerate_id(true) comes here too, and goes on with create_sid().
        $subject = $this->subject;
        $this->end();
        $this->subject = $subject;
        return true;
    }

    /** PHP calls it in session_regenerate_id(): start() has set the first id itself. */
    public function create_sid(): string
    {
        $this->begin(self::plain($_SESSION), $this->subject);
        return self::ID;
    }

    public function gc(int $lifetime): int
    {
        return 0;
    }
}

/** No answer, or none that says anything of the token. */
final class TokenServerUnavailable extends RuntimeException
{
}

/** Calls a token server, by PHP's own streams: one connection a call, sent once. */
final class TokenServer
{
    /** How values become JSON: bytes that are no UTF-8 are replaced, and 1.0 stays a number with a point. */
    public const JSON = JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE | JSON_PRESERVE_ZERO_FRACTION;

    public function __construct(
        private string $url = 'http://127.0.0.1:3666',
        private float $timeout = 2.0,
        private ?string $secret = null,
    ) {
    }

    public function create(array $meta, ?string $subject = null): string
    {
        return $this->call('POST', '/token', ['meta' => (object) $meta, 'subject' => $subject]);
    }

    /** @return array{string, array<string, mixed>}|null the next token and the metadata; null for a bad token */
    public function exchange(string $token, array $patch = [], array $unset = []): ?array
    {
        $body = $this->call('PUT', '/token', ['token' => $token, 'meta' => (object) $patch, 'unset' => $unset]);
        $answer = json_decode($body, true);
        return match (true) {
            isset($answer['Ok']) => [$answer['Ok']['token'], $answer['Ok']['meta']],
            ($answer['Err'] ?? null) === 'InvalidToken' => null,
            default => throw new TokenServerUnavailable('token server: no answer to an exchange'),
        };
    }

    public function delete(string $token): void
    {
        $this->call('DELETE', '/token', ['token' => $token]);
    }

    public function endSubject(string $subject): void
    {
        $this->call('DELETE', '/subject', ['subject' => $subject]);
    }

    private function call(string $method, string $path, array $body): string
    {
        $headers = ['Content-Type: application/json', 'Connection: close'];
        if ($this->secret !== null) {
            $headers[] = 'Authorization: Bearer ' . $this->secret;
        }
        $context = stream_context_create(['http' => [
            'method' => $method, 'header' => $headers, 'protocol_version' => 1.1, 'timeout' => $this->timeout,
            'content' => json_encode($body, self::JSON),
            'follow_location' => 0, 'ignore_errors' => true,
        ]]);
        $answer = @file_get_contents($this->url . $path, false, $context);
        $head = $http_response_header ?? [];
        $status = (int) (explode(' ', $head[0] ?? '')[1] ?? 0);
        // What has come in time is returned, whole or not.
        $whole = preg_grep('~^content-length: ' . strlen((string) $answer) . '$~i', $head);
        if ($answer === false || !$whole || ($status !== 200 && $status !== 202)) {
            throw new TokenServerUnavailable("token server: status $status");
        }
        return $answer;
    }
}
