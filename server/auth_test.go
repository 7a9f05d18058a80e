package server

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/access"
	"tokenserver/shard"
	"tokenserver/token"
)

// auth asks /auth, with headers and what else is in the query.
func (c *client) auth(query string, headers ...string) reply {
	c.t.Helper()
	return c.do("GET", authPath+query, "", headers...)
}

// wantNoSession checks the answer to a request without a valid token.
func (r reply) wantNoSession(t testing.TB, what string) {
	t.Helper()
	if r.status != 401 || r.body != invalidToken || r.contentType() != "application/json" || r.header["Www-Authenticate"] != nil {
		t.Errorf("%s: %v, want 401 %s without a challenge", what, r, invalidToken)
	}
}

func TestAuth(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.create(`{"user":"ann","n":1.0}`)
	cookie := "Cookie: __Host-token=" + tok
	for range 3 { // it spends nothing
		r := c.auth("", cookie)
		if r.status != 204 || r.body != "" {
			t.Errorf("GET /auth: %v, want 204", r)
		}
		r.wantHeaders(t, map[string]string{"Cache-Control": "no-store"})
	}
	want := map[string]string{"Cache-Control": "no-store", "X-User": "ann", "X-N": "1.0"}
	for _, method := range []string{"GET", "HEAD"} {
		r := c.do(method, "/auth?header=user:X-User&header=n:x-n&header=none:X-None&else=1", "", cookie)
		r.wantHeaders(t, want)
		r = c.do(method, "/auth", "", "Cookie: token="+somewhere)
		if r.status != 401 || r.header.Get("Content-Length") != "22" {
			t.Errorf("%s without a session: %v, want 401", method, r)
		}
	}
	if r := c.do("GET", "/auth", `{"token":"`, cookie, "Content-Type: text/plain"); r.status != 204 {
		t.Errorf("with a body: %v, want 204", r)
	}
	c.auth("").wantNoSession(t, "without a token")
	next, _ := c.exchange(tok, "")
	c.auth("", cookie).wantNoSession(t, "a spent token")
	c.do("DELETE", "/token", tokenBody(next))
	c.auth("", "X-Token: "+next).wantNoSession(t, "a deleted token")
	c.wantOpen()
}

// TestAuthCredential: which of many tokens counts.
func TestAuthCredential(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	a, b := c.create(`{"who":"a"}`), c.create(`{"who":"b"}`)
	tests := []struct{ name, query, headers, want string }{
		{"nothing", "", "", ""},
		{"the secure cookie", "", "Cookie: __Host-token=A", "a"},
		{"the plain cookie", "", "Cookie: token=A", "a"},
		{"the secure one first", "", "Cookie: token=B; __Host-token=A", "a"},
		{"the secure one first, though it is bad", "", "Cookie: token=B; __Host-token=x", ""},
		{"the secure one first, though it is empty", "", "Cookie: __Host-token=; token=B", ""},
		{"the secure one first, though it is garbled", "", "Cookie: token=B; __Host-token=%{}", ""},
		{"the secure one twice, once garbled", "", "Cookie: __Host-token=%; token=B; __Host-token=A", "a"},
		{"an empty cookie before X-Token", "", "X-Token: B|Cookie: token=", ""},
		{"X-Token", "", "X-Token: A", "a"},
		{"X-Token in lower case, with blanks", "", "x-token: \t A ", "a"},
		{"a cookie before X-Token", "", "X-Token: B|Cookie: token=A", "a"},
		{"a bad cookie before X-Token", "", "X-Token: B|Cookie: token=x", ""},
		{"other cookies beside X-Token", "", "X-Token: B|Cookie: x=A; Token=A; token2=A", "b"},
		{"X-Token twice", "", "X-Token: A|X-Token: A", ""},
		{"X-Token as a list", "", "X-Token: A, A", ""},
		{"an empty X-Token", "", "X-Token:", ""},
		{"a named cookie", "cookie=sid", "Cookie: token=B; __Host-token=B; sid=A", "a"},
		{"a named cookie that is not there", "cookie=sid", "Cookie: token=B; __Host-token=B", ""},
		{"a named cookie, X-Token", "cookie=sid", "Cookie: token=A|X-Token: B", "b"},
		{"a name that is encoded", "cookie=%73i%64", "Cookie: sid=A", "a"},
		{"a name in other letters", "cookie=SID", "Cookie: sid=A", ""},
		{"a name of all letters", "cookie=!%23$%25%26'*%2B-.^_%60~", "Cookie: !#$%&'*+-.^_`~=A", "a"},
		{"of one name the first", "", "Cookie: token=A; token=B", "a"},
		{"of one name the first, though it is bad", "", "Cookie: token=x; token=B", ""},
		{"of one name the first that is not empty", "", "Cookie: token; token=; token=\"\"; token=B", "b"},
		{"of one name the first that could be a token", "", "Cookie: token=\xe9; token=a%; token=" + strings.Repeat("a", 257) + "; token=B", "b"},
		{"two lines", "", "Cookie: x=1|Cookie: token=A|Cookie: token=B", "a"},
		{"in quotes", "", `Cookie: token="A"`, "a"},
		{"in half of quotes", "", `Cookie: token="A`, ""},
		{"a quote", "", `Cookie: token="`, ""},
		{"without blanks", "", "Cookie: a=b;token=A;c=d", "a"},
		{"with many", "", "Cookie: ;; a ; \t token =A \t;", "a"},
		{"with an equals sign behind it", "", "Cookie: token=A=", ""},
		{"name in its value", "", "Cookie: x=token=A", ""},
		{"in lower case", "", "cookie: token=A", "a"},
		{"encoded", "", "Cookie: token=%41", ""},
		{"another header", "", "X-Cookie: token=A|Cookie2: token=A|X-Tokens: A", ""},
	}
	for _, test := range tests {
		text := strings.NewReplacer("A", a, "B", b).Replace(test.headers)
		if test.headers == "" {
			text = "X: 1"
		}
		r := c.auth("?header=who:X-Who&"+test.query, strings.Split(text, "|")...)
		switch {
		case test.want == "":
			r.wantNoSession(t, test.name)
		case r.status != 204 || r.header.Get("X-Who") != test.want:
			t.Errorf("%s: %v, want the session %s", test.name, r, test.want)
		}
	}
}

// TestAuthHeaders: strings are as they are, all else is JSON, and what can't be in a
// header is percent-encoded.
func TestAuthHeaders(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tests := []struct{ value, want string }{
		{`"ann"`, "ann"},
		{`""`, ""},
		{`"a b  c"`, "a b  c"},
		{`" a "`, "%20a%20"},
		{`"  "`, "%20%20"},
		{`" "`, "%20"},
		{`"   "`, "%20 %20"},
		{`"100%"`, "100%25"},
		{`"%41"`, "%2541"},
		{`"a\r\nX-Admin: 1"`, "a%0D%0AX-Admin: 1"},
		{`"\u0000\t\u001f\u007f"`, "%00%09%1F%7F"},
		{`"é\u00e9\ud83d\ude00"`, "%C3%A9%C3%A9%F0%9F%98%80"},
		{`"\"\\\/~!,;=:<>"`, `"\/~!,;=:<>`},
		{"1.50", "1.50"},
		{"-1e999", "-1e999"},
		{"true", "true"},
		{"null", "null"},
		{`"null"`, "null"},
		{"[]", "[]"},
		{`{"a" : [1, "é\n%", "é"], "b" : {}}`, `{"a":[1,"%C3%A9\n%25","%C3%A9"],"b":{}}`},
	}
	for _, test := range tests {
		tok := c.create(`{"x":0,"v":` + test.value + `,"y":1}`)
		r := c.auth("?header=v:X-V", "X-Token: "+tok)
		if got := r.header["X-V"]; r.status != 204 || len(got) != 1 || got[0] != test.want {
			t.Errorf("%s as a header: %v, want %q", test.value, r, test.want)
		}
		if got, err := url.PathUnescape(r.header.Get("X-V")); err != nil || strings.HasPrefix(test.value, `"`) && !isUnquoted(test.value, got) {
			t.Errorf("%s as a header is decoded as %q, %v", test.value, got, err)
		}
	}
}

func isUnquoted(value, text string) bool {
	unquoted := strings.NewReplacer(`\ud83d\ude00`, "😀", `\u00e9`, "é", `\u0000`, "\x00", `\u001f`, "\x1f", `\u007f`, "\x7f",
		`\"`, `"`, `\\`, `\`, `\/`, "/", `\r`, "\r", `\n`, "\n", `\t`, "\t").Replace(value[1 : len(value)-1])
	return unquoted == text
}

// TestAuthMembers: which member a header has.
func TestAuthMembers(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.create(`{"":"empty","a:b":"colon","\u00e9":"accent","A":"capital","a":"small","a b":"blank","a+b":"plus","&=":"signs","x":{"a":"inner"}}`)
	tests := []struct {
		query string
		want  map[string]string
	}{
		{"header=:X-M", map[string]string{"X-M": "empty"}},
		{"header=a:b:X-M", map[string]string{"X-M": "colon"}},
		{"header=a%3Ab%3AX-M", map[string]string{"X-M": "colon"}},
		{"header=%C3%A9:X-M", map[string]string{"X-M": "accent"}},
		{"header=\xc3\xa9:X-M", map[string]string{"X-M": "accent"}},
		{"header=a:X-M&header=A:X-N", map[string]string{"X-M": "small", "X-N": "capital"}},
		{"header=a:X-M&header=a:X-N", map[string]string{"X-M": "small", "X-N": "small"}},
		{"header=a+b:X-M&header=a%20b:X-N&header=a%2Bb:X-O", map[string]string{"X-M": "blank", "X-N": "blank", "X-O": "plus"}},
		{"header=%26%3D:X-M", map[string]string{"X-M": "signs"}},
		{"%68eader=a:X-M", map[string]string{"X-M": "small"}},
		{"Header=a:X-M&headers=a:X-N", nil},
		{"header=b:X-M&header=x.a:X-N&header=inner:X-O", nil},
		{"&&header=a:Remote-User&=&&", map[string]string{"Remote-User": "small"}},
		{"header=a:authorization&header=A:ACCEPT-LANGUAGE", map[string]string{"Authorization": "small", "Accept-Language": "capital"}},
		{"header=a:X", map[string]string{"X": "small"}},
		{"header=a:Tea&header=a:Ag&header=a:Content&header=a:Contents&header=a:X-Accel", map[string]string{"Tea": "small", "Ag": "small", "Content": "small", "Contents": "small", "X-Accel": "small"}},
	}
	for _, test := range tests {
		r := c.auth("?"+test.query, "X-Token: "+tok)
		want := map[string]string{"Cache-Control": "no-store"}
		for name, value := range test.want {
			want[name] = value
		}
		if r.status != 204 {
			t.Errorf("%s: %v, want 204", test.query, r)
		}
		r.wantHeaders(t, want)
	}
}

func TestAuthRefused(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	cookie := "Cookie: token=" + c.create(`{"a":1}`)
	queries := []string{
		"cookie", "cookie=", "cookie=a&cookie=a", "cookie=a&cookie=b", "cookie=a%20b", "cookie=a=b", "cookie=a;b", "cookie=%C3%A9", "cookie=a%00",
		"cookie=%", "cookie=%4", "cookie=%zz", "x=%", "header=a:X-A&%4x", "header=a:X-A%",
		"header", "header=", "header=a", "header=:", "header=a:", "header=X-A", "header=a%3A",
		"header=a:X_A", "header=a:X-A%20", "header=a:%20X-A", "header=a:X.A", "header=a:X-A%0D%0AX-B", "header=a:X-%C3%A9", "header=a:1X", "header=a:-X",
		"header=a:X-A&header=b:X-A", "header=a:X-A&header=b:x-a", "header=a:X-A&header=a:X-A",
	}
	for _, name := range []string{
		"Content-Length", "content-length", "CONTENT-TYPE", "Content-Encoding", "Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailer",
		"Upgrade", "Proxy-Connection", "Proxy-Authenticate", "Cache-Control", "Set-Cookie", "Cookie", "Date", "Server", "WWW-Authenticate", "Retry-After",
		"Location", "Allow", "Vary", "Host", "X-Accel-Redirect", "x-accel-expires", "X-Token", "Access-Control-Allow-Origin", "Token-Reused", "Store-Id",
	} {
		queries = append(queries, "header=a:"+name)
	}
	many := ""
	for i := range maxAuthHeaders + 1 {
		many += fmt.Sprintf("&header=a:X-%d", i)
	}
	for _, query := range append(queries, many) {
		c.auth("?"+query, cookie).wantError(t, 422, "InvalidRequest")
		c.auth("?"+query).wantError(t, 422, "InvalidRequest") // before the token is looked at
	}
	if r := c.auth("?"+strings.Replace(many, "&header=a:X-0", "", 1), cookie); r.status != 204 || len(r.header) != maxAuthHeaders+2 {
		t.Errorf("%d headers: %v, want 204", maxAuthHeaders, r)
	}
	c.auth("?cookie="+marker+"%&header="+marker).wantError(t, 422, "InvalidRequest")
	c.wantOpen()
}

// TestAuthTooLarge: what would not fit into a proxy's buffer is refused whole.
func TestAuthTooLarge(t *testing.T) {
	store := newStore(t, shard.Config{MaxMeta: 1 << 20})
	c := serve(t, Config{Store: store, MaxBody: 1 << 20}).dial(t)
	const line = len("X-A: \r\n")
	tests := []struct {
		value, query string
		status       int
	}{
		{strings.Repeat("x", maxAuthSize-line), "header=v:X-A", 204},
		{strings.Repeat("x", maxAuthSize-line+1), "header=v:X-A", 413},
		{strings.Repeat("%", (maxAuthSize-line)/3), "header=v:X-A", 204},
		{strings.Repeat("%", (maxAuthSize-line)/3+1), "header=v:X-A", 413},
		{strings.Repeat(`\u0001`, (maxAuthSize-line)/3), "header=v:X-A", 204},
		{strings.Repeat(`\u0001`, (maxAuthSize-line)/3+1), "header=v:X-A", 413},
		{strings.Repeat("x", maxAuthSize/2-line), "header=v:X-A&header=v:X-B", 204},
		{strings.Repeat("x", maxAuthSize/2-line+1), "header=v:X-A&header=v:X-B", 413},
		{strings.Repeat("x", 500_000), "header=v:X-A", 413},
		{strings.Repeat("x", 500_000), "header=w:X-A", 204},
		{strings.Repeat("x", 500_000), "", 204},
	}
	for _, test := range tests {
		tok := c.create(`{"v":"` + test.value + `","w":1}`)
		r := c.auth("?"+test.query, "X-Token: "+tok)
		if r.status != test.status || r.status == 413 && r.header["X-A"] != nil {
			t.Errorf("%d bytes in %s: %.300v, want %d", len(test.value), test.query, r, test.status)
		}
		if test.status == 413 {
			r.wantError(t, 413, "MetaTooLarge")
		}
		c.do("DELETE", "/token", tokenBody(tok))
	}
	c.wantOpen()
}

// TestAuthOrderOfChecks: each request has a fault, and all those that are looked for
// after it.
func TestAuthOrderOfChecks(t *testing.T) {
	callers := newCallers(t)
	store := newMishap(t)
	s := serve(t, Config{Guard: callers.guard, Store: store, MaxBody: 2000})
	c := s.dial(t)
	web := bearer(callers.secrets["tokens"])
	tok := c.do("POST", "/token", `{"meta":{}}`, web).body
	store.set(func(string) error { return &token.UnavailableError{Reason: "loading: 43 %"} })
	tests := []struct {
		name, method, path, headers string
		status                      int
		code                        string
	}{
		{"path", "GET", "/auth/?cookie=%", "X: 1", 404, "NotFound"},
		{"fragment", "GET", "/auth?x#y", web, 404, "NotFound"},
		{"method", "POST", "/auth?cookie=%", "X: 1", 405, "MethodNotAllowed"},
		{"unknown caller", "GET", "/auth?cookie=%", "X: 1", 403, "Forbidden"},
		{"wrong caller", "GET", "/auth?cookie=%", bearer("bad"), 403, "Forbidden"},
		{"caller who may not", "GET", "/auth?cookie=%", bearer(callers.secrets["metrics"]), 403, "Forbidden"},
		{"query", "GET", "/auth?cookie=%", web, 422, "InvalidRequest"},
		{"token", "GET", "/auth", web, 401, "InvalidToken"},
		{"ill-formed token", "GET", "/auth", web + "|Cookie: token=" + marker, 401, "InvalidToken"},
		{"store", "GET", "/auth", web + "|X-Token: " + tok, 503, "StoreUnavailable"},
	}
	for _, test := range tests {
		r := c.do(test.method, test.path, "", strings.Split(test.headers, "|")...)
		if test.status == 401 {
			r.wantNoSession(t, test.name)
			continue
		}
		if r.wantError(t, test.status, test.code); r.header["Www-Authenticate"] != nil {
			t.Errorf("%s: %v, want no challenge", test.name, r)
		}
		if test.status == 503 && !r.notDone() {
			t.Errorf("%s: %v, want done false", test.name, r)
		}
	}
	store.set(func(string) error { return errEngine })
	c.auth("", web, "X-Token: "+tok).wantError(t, 503, "StoreUnavailable")
	store.clear()
	if r := c.auth("", bearer(callers.secrets["admin"]), "X-Token: "+tok); r.status != 204 {
		t.Errorf("an admin: %v, want 204", r)
	}
	if got := s.Stats().Refused; got != 2 {
		t.Errorf("%d callers were refused, want 2", got)
	}
}

// TestAuthCallerIsDelayed as at other paths, although the answer is another one.
func TestAuthCallerIsDelayed(t *testing.T) {
	callers := newCallers(t)
	over := make(chan struct{})
	close(over)
	c := serve(t, Config{Guard: callers.guard}).dial(t)
	for range 4 {
		callers.guard.Refuse(c.conn.LocalAddr(), access.NewDelayed(0), over)
	}
	start := time.Now()
	c.auth("", bearer("bad")).wantError(t, 403, "Forbidden")
	if took := time.Since(start); took < 10*time.Millisecond {
		t.Errorf("a bad secret was refused after %v, want a delay", took)
	}
}

// A session that expires is none, and asking renews nothing. With a grace a token that was
// spent stands for the current one.
func TestAuthExpiryAndGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := shard.New(shard.Config{Shards: 1, Lifetime: lifetime, Grace: 30 * time.Second})
		defer store.Close()
		ask := func(tok token.Token) int {
			d := newDirect(Config{Store: store})
			d.handle([]byte(requestText("GET", "/auth", "", "X-Token: "+string(tok.Append(nil)))))
			return d.ctx.Response.StatusCode()
		}
		first, err := store.Create(context.Background(), token.NewSession{Meta: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(lifetime - time.Second)
		x, err := store.Exchange(context.Background(), first, token.Patch{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := []int{ask(first), ask(x.Token)}
		time.Sleep(30 * time.Second)
		got = append(got, ask(first), ask(x.Token))
		time.Sleep(lifetime - 30*time.Second - time.Nanosecond)
		got = append(got, ask(x.Token))
		time.Sleep(time.Nanosecond)
		got = append(got, ask(x.Token))
		if want := []int{204, 204, 401, 204, 204, 401}; !slices.Equal(got, want) {
			t.Errorf("statuses %v, want %v", got, want)
		}
	})
}
