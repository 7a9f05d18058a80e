<?php

// php test.php, with a real token server: TOKEN_SERVER names its program.
declare(strict_types=1);

require __DIR__ . '/TokenSession.php';

/** A process of a server on a free port, and again on that one after a stop. */
final class Server
{
    public int $port = 0;
    private $process = null;

    public function __construct(private array $command, private string $listening, private array $env = [])
    {
        $this->start();
        register_shutdown_function($this->stop(...));
    }

    public function start(): void
    {
        $command = array_map(fn ($a) => str_replace('PORT', (string) $this->port, $a), $this->command);
        // A session of its own, since php -S leaves its workers behind.
        $this->process = proc_open(['setsid', ...$command], [1 => STDOUT, 2 => ['pipe', 'w']], $pipes, __DIR__, $this->env + getenv());
        while (($line = fgets($pipes[2])) !== false) {
            if (preg_match($this->listening, $line, $found)) {
                $this->port = (int) $found[1];
                return;
            }
        }
        throw new RuntimeException('no server: ' . implode(' ', $command));
    }

    public function pid(): int
    {
        return proc_get_status($this->process)['pid'];
    }

    public function stop(): void
    {
        if ($this->process) {
            posix_kill(-proc_get_status($this->process)['pid'], SIGTERM);
            proc_close($this->process);
        }
        $this->process = null;
    }
}

/** Keeps one cookie, and follows nothing. */
final class Browser
{
    public ?string $cookie = null;

    public function __construct(private int $port)
    {
    }

    /** @return array{int, string, array<string, string>} status, body, headers by small names */
    public function get(string $path): array
    {
        return $this->receive($this->send($path));
    }

    public function send(string $path)
    {
        $conn = stream_socket_client("tcp://127.0.0.1:{$this->port}", timeout: 20);
        $cookie = $this->cookie === null ? '' : "Cookie: a=b; token={$this->cookie}\r\n";
        fwrite($conn, "GET $path HTTP/1.1\r\nHost: 127.0.0.1\r\n{$cookie}Connection: close\r\n\r\n");
        return $conn;
    }

    public function receive($conn): array
    {
        [$head, $body] = explode("\r\n\r\n", stream_get_contents($conn), 2);
        $lines = explode("\r\n", $head);
        $headers = [];
        foreach (array_slice($lines, 1) as $line) {
            [$name, $value] = explode(':', $line, 2);
            $name = strtolower($name);
            $headers[$name] = isset($headers[$name]) ? "$headers[$name], " . trim($value) : trim($value);
            // The last one counts, as in a browser.
            if ($name === 'set-cookie' && preg_match('~^token=([^;]*)~', trim($value), $found)) {
                $this->cookie = $found[1] === '' || $found[1] === 'deleted' ? null : $found[1];
            }
        }
        return [(int) explode(' ', $lines[0])[1], $body, $headers];
    }

    public function meta(string $path = '/'): mixed
    {
        return json_decode($this->get($path)[1], true);
    }
}

function check(string $what, mixed $got, mixed $want): void
{
    global $failed;
    if ($got !== $want) {
        $failed = true;
        fwrite(STDERR, "FAIL $what: got " . json_encode($got) . ', want ' . json_encode($want) . "\n");
    }
}

$failed = false;
$folder = sys_get_temp_dir() . '/token-' . bin2hex(random_bytes(8));
register_shutdown_function(fn () => exec('rm -rf ' . escapeshellarg($folder)));

$tokens = new Server([
    getenv('TOKEN_SERVER'), '--port', 'PORT', '--admin-address', 'off',
    '--data-dir', $folder, '--fsync', 'everysec', '--grace', '10s',
], '/msg=listening address=[0-9.]+:(\d+)/');
$url = "http://127.0.0.1:{$tokens->port}";
$ready = function () use ($url): void {
    do {
        @file_get_contents("$url/readyz");
    } while (!str_contains($http_response_header[0] ?? '', ' 200'));
};
$ready();
$web = new Server(
    [PHP_BINARY, '-d', 'display_errors=0', '-S', '127.0.0.1:0', 'webapp.php'],
    '~http://127.0.0.1:(\d+)~',
    ['TOKEN_SERVER_URL' => $url, 'PHP_CLI_SERVER_WORKERS' => '4'],
);

$browser = new Browser($web->port);
[$status, , $headers] = $browser->get('/a?b=c');
check('no session', [$status, $headers['location']], [303, '/login?next=%2Fa%3Fb%3Dc']);

$browser->get('/login');
$first = $browser->cookie;
[$status, $body, $headers] = $browser->get('/');
check('page', [$status, $body], [200, '{"user":"ada"}']);
check('the page left the spent token in the cookie', $browser->cookie === $first, false);
check('not cached', str_contains($headers['cache-control'], 'no-store'), true);

check('patch', $browser->meta('/choose?year=2026'), ['user' => 'ada', 'year' => 2026]);
check('after the patch', $browser->meta(), ['user' => 'ada', 'year' => 2026]);
check('unset', $browser->meta('/forget'), ['user' => 'ada']);
check('after unset', $browser->meta(), ['user' => 'ada']);

check('a page that fails', $browser->get('/broken')[0], 500);
check('leaves the user logged in', $browser->get('/')[0], 200);

[, , $headers] = $browser->get('/headers');
check('the headers of a page', [$headers['vary'], $headers['cache-control']], ['Accept-Encoding, Cookie', 'no-store']);

// As applications written for PHP's own sessions log in: the session moves, and what others have of it is nothing.
foreach (['/regenerate', '/regenerate?delete'] as $path) {
    $planted = clone $browser;
    check("$path keeps", $browser->meta($path), ['user' => 'ada', 'role' => 'admin']);
    check("$path begins a session", [$browser->meta(), $planted->get('/')[0]], [['user' => 'ada', 'role' => 'admin'], 303]);
    $nobody = new Browser($web->port);
    check("$path without one", [$nobody->meta($path), $nobody->meta()], [['role' => 'admin'], ['role' => 'admin']]);
}
$other = clone $browser;
$browser->get('/login');
check('the session of before a login', $other->get('/')[0], 303);
$other = new Browser($web->port);
$other->get('/login');
$other->get('/regenerate?delete');
$browser->get('/everywhere');
check('log out everywhere', [$browser->cookie, $other->get('/')[0]], [null, 303]);
$browser->get('/login');

// Parallel requests with one cookie, within the grace.
$tabs = array_map(fn () => clone $browser, range(1, 10));
$conns = array_map(fn ($tab) => $tab->send('/'), $tabs);
$answers = array_map(fn ($tab, $conn) => $tab->receive($conn)[0], $tabs, $conns);
check('parallel requests', $answers, array_fill(0, 10, 200));
$browser->cookie = end($tabs)->cookie;
check('after them', $browser->get('/')[0], 200);

// The token server away: 503 and never a login; afterwards the user is in again.
$tokens->stop();
$before = $browser->cookie;
[$status, , $headers] = $browser->get('/');
check('away', [$status, $headers['retry-after'] ?? null, $browser->cookie], [503, '1', $before]);
$tokens->start();
$ready();
check('back', $browser->get('/')[0], 200);

// It goes away in the middle of a request: what could not be kept is told, and who could not be logged out is not.
foreach (['/late', '/late-output', '/destroy-late'] as $path) {
    [$status, $body, $headers] = $browser->get("$path?pid=" . $tokens->pid());
    check($path, [$status, $headers['retry-after'] ?? null, str_contains($body, 'bye')], [503, '1', false]);
    $tokens->stop();
    $tokens->start();
    $ready();
    check("after $path", $browser->meta(), ['user' => 'ada']);
}
check('what is no JSON', $browser->get('/no-json')[0], 500);
check('leaves the session as it was', $browser->meta(), ['user' => 'ada']);

$garbled = new Browser($web->port);
$garbled->cookie = str_repeat('x"{}%', 1000);
[$status, , $headers] = $garbled->get('/');
check('garbage', [$status, $headers['set-cookie'] ?? null], [303, null]);

$listed = stream_socket_client("tcp://127.0.0.1:{$web->port}");
fwrite($listed, "GET / HTTP/1.1\r\nHost: a\r\nCookie: token[a]=1\r\nConnection: close\r\n\r\n");
check('a cookie that is a list', substr(stream_get_contents($listed), 9, 3), '303');

$copied = clone $browser;
$browser->get('/logout');
check('log out', [$browser->cookie, $copied->get('/')[0]], [null, 303]);

// An answer that stalls halfway is none.
$stalling = new Server([PHP_BINARY, '-r', <<<'PHP'
    $server = stream_socket_server('tcp://127.0.0.1:0');
    fwrite(STDERR, stream_socket_get_name($server, false) . "\n");
    while ($conn = stream_socket_accept($server, -1)) {
        fwrite($conn, "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\nhalf");
        $open[] = $conn;
    }
    PHP], '/:(\d+)$/');
try {
    check('half of a token', (new TokenServer("http://127.0.0.1:{$stalling->port}", 0.5))->create([]), null);
} catch (TokenServerUnavailable) {
}

foreach (['/a?b' => '/a?b', '//evil' => '/', '/\\evil' => '/', 'https:evil' => '/', "/\t/evil" => '/', '' => '/', "/\nx" => '/', "/x\n" => '/'] as $path => $want) {
    check("way back $path", TokenSession::wayBack((string) $path), $want);
}
echo $failed ? "FAIL\n" : "ok\n";
exit($failed ? 1 : 0);
