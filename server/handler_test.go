package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/shard"
	"tokenserver/token"
)

// direct calls a server's handler without a socket, as fasthttp does it.
type direct struct {
	s   *Server
	ctx fasthttp.RequestCtx
	in  *bufio.Reader
	raw bytes.Reader
}

func newDirect(cfg Config) *direct {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := &direct{s: New(cfg), in: bufio.NewReaderSize(nil, 4*headerBuffer)}
	d.ctx.Init2(nil, nil, false)
	return d
}

// handle reads a request and has it answered.
func (d *direct) handle(text []byte) error {
	d.raw.Reset(text)
	d.in.Reset(&d.raw)
	d.ctx.Request.Reset()
	d.ctx.Response.Reset()
	if err := d.ctx.Request.Read(d.in); err != nil {
		return err
	}
	d.s.handle(&d.ctx)
	return nil
}

func (d *direct) do(t testing.TB, method, path, body string) reply {
	t.Helper()
	text := requestText(method, path, body)
	if body == "" { // still said to be JSON
		text = requestText(method, path, "", "Content-Type: application/json", "Content-Length: 0")
	}
	if err := d.handle([]byte(text)); err != nil {
		t.Fatalf("reading %q: %v", text, err)
	}
	return replyOf(&d.ctx)
}

func replyOf(ctx *fasthttp.RequestCtx) reply {
	r := reply{status: ctx.Response.StatusCode(), header: make(map[string][]string), body: string(ctx.Response.Body())}
	for name, value := range ctx.Response.Header.All() {
		r.header[string(name)] = append(r.header[string(name)], string(value))
	}
	return r
}

// The work of an exchange is done in memory that is there already.
func TestAllocations(t *testing.T) {
	if underRace() {
		t.Skip("pools forget under the race detector")
	}
	store := newStore(t, shard.Config{})
	tests := []struct {
		name, method, path, before, after string
	}{
		{"exchange", "PUT", "/token", `{"token":"`, `"}`},
		{"exchange with patch", "PUT", "/token", `{"token":"`, `","meta":{"n": 12345678, "page":"/other"}}`},
		{"validate", "POST", "/token/validate", `{"token":"`, `"}`},
		{"invalid token", "PUT", "/token", `{"ignored":"`, `","token":"` + somewhere + `"}`},
		{"auth", "GET", "/auth?header=user:X-User&header=n:X-N", "", ""},
		{"malformed JSON", "PUT", "/token", `{"token":"`, `"`},
	}
	for _, test := range tests {
		d := newDirect(Config{Store: store})
		tok := d.do(t, "POST", "/token", `{"meta":{"user":"ann","n":1,"page":"/index"}}`).body
		text := []byte(requestText(test.method, test.path, test.before+tok+test.after))
		if test.name == "auth" {
			text = []byte(requestText(test.method, test.path, "", "Cookie: a=b; __Host-token="+tok))
		}
		at := bytes.Index(text, []byte(tok))
		got := testing.AllocsPerRun(500, func() {
			if err := d.handle(text); err != nil {
				t.Fatal(err)
			}
			if body := d.ctx.Response.Body(); bytes.HasPrefix(body, []byte(exchangedHead)) {
				copy(text[at:], body[tokenStart:tokenEnd])
			}
		})
		if test.name == "auth" && d.ctx.Response.StatusCode() != 204 {
			t.Errorf("auth: %v, want 204", &d.ctx.Response)
		}
		if got > 2 {
			t.Errorf("%s allocates %v times, want 2 at most", test.name, got)
		}
		if strings.HasPrefix(test.name, "exchange") && bytes.Contains(text, []byte(tok)) {
			t.Errorf("%s: nothing was exchanged: %q", test.name, d.ctx.Response.Body())
		}
	}
}

const lifetime = 90 * time.Second

// inBubble runs a test with fake time and a server of sessions that live 90 seconds.
func inBubble(t *testing.T, test func(t *testing.T, d *direct)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := shard.New(shard.Config{Shards: 1, Lifetime: lifetime, MaxSessions: 1})
		defer store.Close()
		test(t, newDirect(Config{Store: store}))
	})
}

func (d *direct) wantExpiresIn(t *testing.T, tok string, want int) {
	t.Helper()
	r := d.do(t, "POST", "/token/validate", tokenBody(tok))
	if want := fmt.Sprintf(`{"Ok":{"meta":{},"expires_in":%d}}`, want); r.body != want || r.status != 200 {
		t.Errorf("validate: %v, want %s", r, want)
	}
}

func TestExpiresInIsRoundedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, d *direct) {
		tok := d.do(t, "POST", "/token", `{"meta":{}}`).body
		begun := time.Now()
		for _, step := range []struct {
			at   time.Duration
			want int
		}{
			{0, 90},
			{time.Nanosecond, 90},
			{time.Second - time.Nanosecond, 90},
			{time.Second, 89},
			{time.Second + time.Nanosecond, 89},
			{45 * time.Second, 45},
			{lifetime - time.Second, 1},
			{lifetime - time.Nanosecond, 1},
		} {
			time.Sleep(time.Until(begun.Add(step.at)))
			d.wantExpiresIn(t, tok, step.want)
		}
		time.Sleep(time.Until(begun.Add(lifetime)))
		d.do(t, "POST", "/token/validate", tokenBody(tok)).wantInvalidToken(t)
		d.do(t, "PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
		if r := d.do(t, "DELETE", "/token", tokenBody(tok)); r.status != 202 {
			t.Errorf("DELETE of an expired token: %v, want 202", r)
		}
	})
}

// An exchange renews the lifetime in full; a look renews nothing.
func TestExchangeRenewsAndValidateDoesNot(t *testing.T) {
	inBubble(t, func(t *testing.T, d *direct) {
		tok := d.do(t, "POST", "/token", `{"meta":{}}`).body
		for range 5 {
			time.Sleep(lifetime - 10*time.Second)
			d.wantExpiresIn(t, tok, 10)
			time.Sleep(5 * time.Second)
			d.wantExpiresIn(t, tok, 5)
			next, _, ok := d.do(t, "PUT", "/token", tokenBody(tok)).exchanged()
			if !ok {
				t.Fatalf("PUT in the last seconds failed")
			}
			tok = next
			d.wantExpiresIn(t, tok, 90)
		}
		time.Sleep(lifetime)
		d.do(t, "PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
	})
}

// What goes wrong with a token renews nothing either.
func TestFailedRequestsRenewNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, d *direct) {
		tok := d.do(t, "POST", "/token", `{"meta":{}}`).body
		time.Sleep(lifetime / 2)
		d.do(t, "PUT", "/token", exchangeBody(tok, `{"a":"`+strings.Repeat("x", token.DefaultMetaLimit)+`"}`)).wantError(t, 413, "MetaTooLarge")
		d.do(t, "PUT", "/token", exchangeBody(tok, `[]`)).wantError(t, 422, "InvalidRequest")
		d.do(t, "PUT", "/token", exchangeBody(string(parse(t, tok).Next().Append(nil)), "")).wantInvalidToken(t)
		d.wantExpiresIn(t, tok, 45)
	})
}

// Expired sessions make room for new ones before the store is called full.
func TestExpiredSessionsMakeRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, d *direct) {
		first := d.do(t, "POST", "/token", `{"meta":{}}`).body
		time.Sleep(lifetime - 1)
		d.do(t, "POST", "/token", `{"meta":{}}`).wantError(t, 507, "StoreFull")
		time.Sleep(time.Nanosecond)
		second := d.do(t, "POST", "/token", `{"meta":{}}`).body
		d.do(t, "PUT", "/token", tokenBody(first)).wantInvalidToken(t)
		d.wantExpiresIn(t, second, 90)
	})
}

func TestSecondsUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for d, want := range map[time.Duration]int64{
			-time.Hour: 1, 0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, 96 * time.Hour: 345600, 96*time.Hour - 1: 345600,
		} {
			if got := secondsUntil(time.Now().Add(d), time.Now()); got != want {
				t.Errorf("secondsUntil(now + %v) = %d, want %d", d, got, want)
			}
		}
	})
}

func TestConfigDefaults(t *testing.T) {
	got := Config{}.withDefaults()
	if got.MaxBody != 64<<10 || got.RequestTimeout != 10*time.Second || got.AnswerTimeout != 10*time.Second || got.IdleTimeout != 5*time.Minute || got.Logger == nil {
		t.Errorf("defaults = %+v", got)
	}
}

// direct is used as fasthttp's own loop would: a request leaves nothing unread.
func TestDirectReadsWholeRequests(t *testing.T) {
	d := newDirect(Config{Store: newStore(t, shard.Config{})})
	if r := d.do(t, "POST", "/token", `{"meta":{}}`); !isToken(r.body) || r.header["Cache-Control"][0] != "no-store" {
		t.Errorf("POST: %v", r)
	}
	if rest, err := io.ReadAll(d.in); len(rest) > 0 || err != nil {
		t.Errorf("left unread: %q, %v", rest, err)
	}
}

// BenchmarkMetrics shows what counting costs an exchange: a whole exchange
// through the handler, without a network, and the counting in it.
func BenchmarkMetrics(b *testing.B) {
	store := newStore(b, shard.Config{})
	b.Run("part=exchange", func(b *testing.B) {
		d := newDirect(Config{Store: store})
		tok, err := store.Create(b.Context(), token.NewSession{Meta: []byte(`{"user":"ann","n":1,"page":"/index"}`)})
		if err != nil {
			b.Fatal(err)
		}
		text := []byte(requestText("PUT", "/token", tokenBody(string(tok.Append(nil)))))
		at := bytes.Index(text, tok.Append(nil))
		for b.Loop() {
			if err := d.handle(text); err != nil {
				b.Fatal(err)
			}
			copy(text[at:], d.ctx.Response.Body()[tokenStart:tokenEnd])
		}
	})
	b.Run("part=counting", func(b *testing.B) {
		d := newDirect(Config{Store: store})
		d.ctx.Request.Header.SetMethod("PUT")
		for b.Loop() {
			begun := time.Since(d.s.reaper.start)
			took := time.Since(d.s.reaper.start) - begun
			d.s.stats.time(&d.ctx, took)
			d.s.stats.count(&d.ctx, methodIndex(&d.ctx))
		}
	})
}
