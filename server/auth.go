package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// authPath is where proxies ask whether a request of a browser's has a session, as
// nginx's auth_request, Caddy's forward_auth and Traefik's ForwardAuth do.
const authPath = "/auth"

// Bounds of an answer of /auth.
const (
	// maxAuthHeaders is how many headers may be asked for.
	maxAuthHeaders = 32
	// maxAuthSize is how many bytes they may have, each as a line: proxies have buffers
	// of one or two pages for all headers of an answer.
	maxAuthSize = 4 << 10
)

// Errors of /auth.
var (
	errNoSession  = errors.New("server: no session")
	errAuthTarget = newRequestError("The query must be percent-encoded.")
	errAuthCookie = newRequestError(`"cookie" must be the name of a cookie, given once.`)
	errAuthHeader = newRequestError(fmt.Sprintf(`"header" must be MEMBER:NAME, where NAME is of letters, digits and "-", `+
		`begins with a letter, is given once, and means nothing in answers or between proxies; at most %d times.`, maxAuthHeaders))
	errAuthTooLarge = errors.New("server: metadata too large for headers")
)

// authRequest is what a request to /auth asks for. It borrows the request's bytes, so
// that it is valid until the handler returns.
type authRequest struct {
	// cookies are the names of the cookies that may have the token, the first one
	// wins.
	cookies [][]byte
	headers []authHeader
	// values has the values of the headers, maxAuthSize bytes at most.
	values []byte
}

// authHeader is a header that is asked for.
type authHeader struct {
	member, name []byte
	value        []byte // nil if the metadata has no such member
}

// defaultCookies are the cookies of sessions: a browser takes the first one only from
// the host itself and over TLS.
var defaultCookies = namesOf("__Host-token", "token")

func newAuthRequest() any {
	return &authRequest{
		cookies: make([][]byte, 0, len(defaultCookies)),
		headers: make([]authHeader, 0, maxAuthHeaders),
		values:  make([]byte, 0, maxAuthSize),
	}
}

// release lets another request have r, which refers to nothing of this one any more.
func (r *authRequest) release(s *Server) {
	clear(r.cookies)
	clear(r.headers)
	clear(r.values)
	r.cookies, r.headers, r.values = r.cookies[:0], r.headers[:0], r.values[:0]
	s.auths.Put(r)
}

// handleAuth answers with metadata as headers if the request has a valid token, which
// it does not spend.
func (s *Server) handleAuth(ctx *fasthttp.RequestCtx) error {
	r := s.auths.Get().(*authRequest)
	defer r.release(s)
	if err := r.read(ctx.URI()); err != nil {
		return err
	}
	t, err := token.Parse(r.credential(ctx.Request.Header.RawHeaders()))
	if err != nil {
		return errNoSession
	}
	meta, _, err := s.store.Validate(context.Background(), t, body(ctx))
	if err != nil {
		if errors.Is(err, token.ErrInvalid) {
			return errNoSession
		}
		return err
	}
	err = r.take(meta)
	setBody(ctx, meta[:0])
	if err != nil {
		return err
	}
	for _, h := range r.headers {
		if h.value != nil {
			ctx.Response.Header.SetBytesKV(h.name, h.value)
		}
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// read takes what the query asks for. Other parameters are ignored, as fields of bodies
// are.
func (r *authRequest) read(uri *fasthttp.URI) error {
	if hasBadEscape(uri.QueryString()) {
		return errAuthTarget
	}
	for name, value := range uri.QueryArgs().All() {
		switch string(name) {
		case "cookie":
			if len(r.cookies) > 0 || !isHeaderToken(value) {
				return errAuthCookie
			}
			r.cookies = append(r.cookies, value)
		case "header":
			if err := r.ask(value); err != nil {
				return err
			}
		}
	}
	if len(r.cookies) == 0 {
		r.cookies = append(r.cookies, defaultCookies...)
	}
	return nil
}

// hasBadEscape reports whether a query has a % without two digits behind it, which
// would stand for itself otherwise.
func hasBadEscape(query []byte) bool {
	for {
		i := bytes.IndexByte(query, '%')
		if i < 0 {
			return false
		}
		if query = query[i+1:]; len(query) < 2 || !isHex(query[0]) || !isHex(query[1]) {
			return true
		}
	}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// isHeaderToken reports whether a text is a token of HTTP's, as names of cookies are
// (RFC 9110, section 5.6.2).
func isHeaderToken(text []byte) bool {
	for _, c := range text {
		if !isLetter(c) && !isDigit(c) && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(text) > 0
}

// ask takes a header that is asked for, as MEMBER:NAME. A name has no colon, but a
// member may.
func (r *authRequest) ask(text []byte) error {
	colon := bytes.LastIndexByte(text, ':')
	if colon < 0 || len(r.headers) == maxAuthHeaders {
		return errAuthHeader
	}
	h := authHeader{member: text[:colon], name: text[colon+1:]}
	same := func(other authHeader) bool { return bytes.EqualFold(h.name, other.name) }
	if !isFreeHeader(h.name) || slices.ContainsFunc(r.headers, same) {
		return errAuthHeader
	}
	r.headers = append(r.headers, h)
	return nil
}

// isFreeHeader reports whether metadata may be in the header of a name. An underscore is
// in none: to many a program behind a proxy it is the same as a hyphen, but not to the
// proxy that takes a browser's own headers away.
func isFreeHeader(name []byte) bool {
	for _, c := range name {
		if !isLetter(c) && !isDigit(c) && c != '-' {
			return false
		}
	}
	if len(name) == 0 || !isLetter(name[0]) {
		return false
	}
	for _, taken := range takenHeaders {
		if bytes.EqualFold(name, taken) {
			return false
		}
	}
	for _, start := range takenPrefixes {
		if len(name) >= len(start) && bytes.EqualFold(name[:len(start)], start) {
			return false
		}
	}
	return true
}

// takenHeaders are those that mean something between the server and a proxy, or in the
// proxy's own answer, or without which a request is another one. takenPrefixes are what such names
// begin with.
var (
	takenHeaders = namesOf("Age", "Allow", "Alt-Svc", "Cache-Control", "Clear-Site-Data", "Connection", "Cookie", "Date",
		"ETag", "Expect", "Expires", "Host", "Keep-Alive", "Last-Modified", "Link", "Location", "Pragma", "Refresh",
		"Retry-After", "Server", "Set-Cookie", "Store-Id", "Strict-Transport-Security", "TE", "Token-Reused", "Trailer",
		"Transfer-Encoding", "Upgrade", "Vary", "Via", "WWW-Authenticate", "X-Token")
	takenPrefixes = namesOf("Access-Control-", "Content-", "Proxy-", "Sec-", "X-Accel-")
)

func namesOf(names ...string) (list [][]byte) {
	for _, name := range names {
		list = append(list, []byte(name))
	}
	return list
}

var headerCookie, headerToken = []byte("Cookie"), []byte("X-Token")

// credential returns the text of the token that a request has in its raw headers, or
// nil. The first name of a cookie that the request has counts, whatever is in it, and
// X-Token if it has none: what only this host can set is not to be overruled by what
// others can. Of several cookies of that name it is the first that could be a token, as
// client/session has it.
func (r *authRequest) credential(raw []byte) []byte {
	var cookies [2]authCookie
	var header []byte
	xTokens := 0
	for line := range bytes.Lines(raw) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		switch {
		case bytes.EqualFold(name, headerCookie):
			r.searchCookies(value, &cookies)
		case bytes.EqualFold(name, headerToken):
			header = bytes.TrimSpace(value)
			xTokens++
		}
	}
	for _, c := range cookies {
		if c.present {
			return c.token
		}
	}
	if xTokens > 1 { // a list of them is no token
		return nil
	}
	return header
}

// authCookie is what a request has in the cookies of one name.
type authCookie struct {
	present bool
	token   []byte // the first value that could be one
}

// searchCookies takes the cookies that are wanted from the value of a Cookie header.
func (r *authRequest) searchCookies(header []byte, cookies *[2]authCookie) {
	for pair := range bytes.SplitSeq(header, []byte{';'}) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(pair), []byte{'='})
		name, value = bytes.TrimSpace(name), unquoteCookie(value)
		for i, wanted := range r.cookies {
			if !bytes.Equal(name, wanted) {
				continue
			}
			cookies[i].present = true
			if cookies[i].token == nil && couldBeToken(value) {
				cookies[i].token = value
			}
		}
	}
}

// maxTokenText is the length in bytes beyond which the value of a cookie is passed over.
const maxTokenText = 256

// couldBeToken reports whether a cookie has the letters of a token, of whatever length.
func couldBeToken(text []byte) bool {
	for _, c := range text {
		if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return 0 < len(text) && len(text) <= maxTokenText
}

// unquoteCookie returns the value of a cookie, which may be in quotes (RFC 6265,
// section 4.1.1).
func unquoteCookie(value []byte) []byte {
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		return value[1 : n-1]
	}
	return value
}

// take takes the values of the headers from metadata.
func (r *authRequest) take(meta []byte) error {
	if len(r.headers) == 0 {
		return nil // as where there is nothing but a page to guard
	}
	size := 0 // of their lines
	for quoted, value := range metadata.Members(meta) {
		name := metadata.Unquote(quoted)
		for i := range r.headers {
			h := &r.headers[i]
			if !bytes.Equal(name, h.member) {
				continue
			}
			start := len(r.values)
			if !r.append(value, &size, len(h.name)) {
				return errAuthTooLarge
			}
			h.value = r.values[start:]
		}
	}
	return nil
}

// maxEscape is the length of the longest escape of JSON's that stands for one byte.
const maxEscape = len(`\u0000`)

// append appends the value of a header, as it is sent, to values. It counts the line,
// whose name has n bytes, to the size of all, and says whether they are as large as they may
// be at most.
func (r *authRequest) append(value []byte, size *int, n int) bool {
	*size += n + len(": \r\n")
	if len(value) > maxEscape*maxAuthSize {
		return false // without a copy of it
	}
	if value[0] == '"' {
		value = metadata.Unquote(value)
	}
	if *size += headerLen(value); *size > maxAuthSize {
		return false
	}
	r.values = appendHeader(r.values, value)
	return true
}

const hexDigits = "0123456789ABCDEF"

// appendHeader appends a text as the value of a header. What a header can't have is
// percent-encoded, blanks at the ends too, since readers cut them off.
func appendHeader(dst, text []byte) []byte {
	for i, c := range text {
		if isHeaderByte(c, i == 0 || i == len(text)-1) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

// headerLen returns how many bytes appendHeader appends.
func headerLen(text []byte) (n int) {
	for i, c := range text {
		if n++; !isHeaderByte(c, i == 0 || i == len(text)-1) {
			n += 2
		}
	}
	return n
}

func isHeaderByte(c byte, atEnd bool) bool {
	return ' ' < c && c <= '~' && c != '%' || c == ' ' && !atEnd
}
