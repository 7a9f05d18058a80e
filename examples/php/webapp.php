<?php

// The pages that test.php asks for, behind `php -S`.
declare(strict_types=1);

require __DIR__ . '/TokenSession.php';

try {
    TokenSession::start(new TokenServer(getenv('TOKEN_SERVER_URL')), 'token');
    $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
    if ($path === '/login') {
        TokenSession::login(['user' => 'ada'], 'ada');
        echo 'welcome';
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
    }
    header('Content-Type: application/json');
    echo json_encode($_SESSION);
} catch (TokenServerUnavailable) {
    http_response_code(503);
    header('Retry-After: 1');
    echo "Please try again in a moment.\n";
}
