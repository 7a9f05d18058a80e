<?php

// The pages that test.php asks for, behind `php -S`.
declare(strict_types=1);

require __DIR__ . '/TokenSession.php';

/** Stops the token server in the middle of a request, so that the next call of it fails. */
function stopTokenServer(): void
{
    posix_kill((int) $_GET['pid'], SIGTERM);
    while (@fsockopen(parse_url(getenv('TOKEN_SERVER_URL'), PHP_URL_HOST), parse_url(getenv('TOKEN_SERVER_URL'), PHP_URL_PORT))) {
        usleep(1000);
    }
}

try {
    TokenSession::start(new TokenServer(getenv('TOKEN_SERVER_URL')), 'token');
    $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
    if ($path === '/login') {
        TokenSession::login(['user' => 'ada'], 'ada');
        echo 'welcome';
        return;
    }
    if ($path === '/regenerate') { // as applications written for PHP's own sessions log in
        session_regenerate_id(isset($_GET['delete']));
        $_SESSION['role'] = 'admin';
        echo json_encode($_SESSION);
        return;
    }
    if (!TokenSession::alive()) {
        header('Location: /login?next=' . urlencode($_SERVER['REQUEST_URI']), true, 303);
        return;
    }
    switch ($path) {
        case '/choose':
            $_SESSION['year'] = (int) $_GET['year'];
            break;
        case '/forget':
            unset($_SESSION['year']);
            break;
        case '/broken':
            throw new LogicException('broken');
        case '/logout':
            TokenSession::logout();
            break;
        case '/everywhere':
            TokenSession::logoutEverywhere('ada');
            break;
        case '/headers':
            header('Vary: Accept-Encoding');
            header('Cache-Control: public');
            break;
        case '/late':
            $_SESSION['late'] = true;
            stopTokenServer();
            return; // without a byte: PHP writes the session before the headers
        case '/late-output':
            $_SESSION['late'] = true;
            stopTokenServer();
            break;
        case '/no-json':
            $_SESSION['x'] = NAN;
            return;
        case '/destroy-late':
            stopTokenServer();
            session_destroy();
            echo 'bye';
            return;
    }
    header('Content-Type: application/json');
    echo json_encode($_SESSION);
} catch (TokenServerUnavailable) {
    http_response_code(503);
    header('Retry-After: 1');
    echo "Please try again in a moment.\n";
}
