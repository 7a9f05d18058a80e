// Package session is net/http middleware that keeps the sessions of a web server at a
// token server: the browser has a one-time token in a cookie, and each request
// exchanges it for the session's metadata and the next token.
//
// # Basics
//
// A [Manager] is described by its fields, whose zero values are good, but for Client.
// [Manager.Handler] is for pages that need a session, [Manager.Optional] for those that
// anybody may see, of which the login page is one. Put it outside of what writes
// answers (compression, time-outs), and inside of what only looks at them.
//
// Handlers use functions with the request's context: [Get], [Set] and [Unset] for
// members of the metadata, [Login], [Destroy], [LogoutEverywhere], [LogoutOthers],
// [Devices] and [End] for sessions.
//
// The token is exchanged once a request, before the handler runs: a handler runs for
// those alone whose token was good, and of several that present one token, one wins.
// What the handler sets is sent with the first byte of its answer, by a second exchange
// of the new token, and only if something was changed. The cookie is in the answer
// however it begins: by WriteHeader, Write, a flush, a hijack, 304, or a panic. If the
// changes can't be kept, the browser gets an error in place of the answer.
//
// # When the token server refuses or fails
//
// A token that is spent, expired, deleted or garbled goes to [Manager].Invalid: 303 to
// the login page, with the way back ([WayBack]), or 401 for requests of scripts. All
// other errors go to [Manager].Unavailable: 503 with Retry-After, never a login, and the
// cookie stays. So it does when the outcome of an exchange is unknown: with a grace the
// next request gets the current token.
//
// # Caveats
//
// Parallel requests with one token are right with a --grace of a few seconds on the
// token server, and with [client.Config].RetryUnknown. Without one, the first wins and
// each of the others gets Invalid. The cookie is never cleared for that, since the
// winner's answer sets the next token: who follows the redirect to a login page under
// Optional is logged in there, and can be sent back ([Active]). A browser that has lost
// an answer, or does not wait for it (a second click, stop), has lost its session.
//
// Answers may overtake each other. A handler that takes longer than a second exchanges
// once more before it answers, so that its cookie is no older one than the browser has.
//
// Under [Navigations] the lifetime of a session is renewed by navigations alone, and
// under [EveryInterval] once an interval. In both a copied token can be used until its
// owner's next exchange, and nobody notices.
//
// [Set] after the first byte of the answer returns [ErrTooLate]. So it does in
// goroutines that outlive the handler, which may go on to [Get] what there was. An
// answer that has begun can't be taken back by a panic: what was set before is kept. What
// was set before a panic without an answer is not.
//
// Whoever hijacks a connection and writes the head of the answer without the header of
// the ResponseWriter must add that of [Header], or the session is lost.
//
// An http.TimeoutHandler belongs inside of Handler: outside, a time-out throws the
// cookie away.
//
// Two programs on one host share cookies, also on different ports: give them different
// names in [Cookie].
//
// Cross-site request forgery is refused by [http.CrossOriginProtection], which every
// browser since 2023 is fit for; [CSRFToken] is for older ones. Handlers of GET must
// change nothing, as ever.
package session
