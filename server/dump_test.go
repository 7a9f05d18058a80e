package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

// listStore is a Store that lists what a test wants.
type listStore struct {
	Store
	list func(ctx context.Context, yield func(token.Session, error) bool)
}

func (s *listStore) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	return func(yield func(token.Session, error) bool) { s.list(ctx, yield) }
}

// withoutTime are the options of a log whose lines are known in advance.
var withoutTime = &slog.HandlerOptions{
	Level: slog.LevelDebug,
	ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == "duration" || a.Key == "remote") {
			return slog.Attr{}
		}
		return a
	},
}

func handlers(log *logBuffer) map[string]slog.Handler {
	return map[string]slog.Handler{
		"text": slog.NewTextHandler(log, withoutTime),
		"json": slog.NewJSONHandler(log, withoutTime),
	}
}

func (c *client) dump() {
	c.t.Helper()
	r := c.do("HEAD", "/dump", "")
	if r.status != 202 || r.body != "" {
		c.t.Errorf("HEAD /dump: %v, want 202 and no body", r)
	}
}

func TestDumpIsWritten(t *testing.T) {
	const meta = `{"user":"ann","n":1.0,"big":1e999,"nested":{"a":[null]},"html":"<&>","s":"\u00e9é\n"}`
	expires := time.Date(2026, 11, 24, 18, 0, 0, 999, time.FixedZone("", 2*60*60))
	store := &listStore{list: func(_ context.Context, yield func(token.Session, error) bool) {
		for _, m := range []string{meta, `{}`} {
			if !yield(token.Session{Expires: expires, Meta: []byte(m)}, nil) {
				return
			}
		}
	}}
	want := map[string]string{
		"text": `level=INFO msg=dump expires="2026-11-24 16:00:00" meta=` + fmt.Sprintf("%q", meta) + "\n" +
			`level=INFO msg=dump expires="2026-11-24 16:00:00" meta="{}"` + "\n" +
			`level=INFO msg="dump complete" sessions=2` + "\n",
		"json": `{"level":"INFO","msg":"dump","expires":"2026-11-24 16:00:00","meta":` + meta + "}\n" +
			`{"level":"INFO","msg":"dump","expires":"2026-11-24 16:00:00","meta":{}}` + "\n" +
			`{"level":"INFO","msg":"dump complete","sessions":2}` + "\n",
	}
	var log logBuffer
	for format, handler := range handlers(&log) {
		log.Reset()
		s := serve(t, Config{Store: store, Dump: true, Logger: slog.New(atInfo{handler})})
		s.dial(t).dump()
		log.await(t, "dump complete", 1)
		if got := log.String(); got != want[format] {
			t.Errorf("%s log:\n%s\nwant:\n%s", format, got, want[format])
		}
	}
}

// atInfo leaves out what is below info.
type atInfo struct{ slog.Handler }

func (atInfo) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func TestDumpListsLiveSessions(t *testing.T) {
	var log logBuffer
	for format, handler := range handlers(&log) {
		log.Reset()
		s := serve(t, Config{Dump: true, Logger: slog.New(atInfo{handler})})
		c := s.dial(t)
		c.dump()
		log.await(t, "dump complete", 1)
		if got := len(log.lines()); got != 1 {
			t.Errorf("%s log of no session has %d lines: %s", format, got, log.String())
		}

		const n = 500
		var tokens []string
		for i := range n {
			tokens = append(tokens, c.create(fmt.Sprintf(`{"session":%d}`, i)))
		}
		deleted := tokens[0]
		tokens[1], _ = c.exchange(tokens[1], "")
		c.do("DELETE", "/token", tokenBody(deleted))
		log.Reset()
		c.dump()
		log.await(t, "dump complete", 1)
		text := log.String()
		for i := range n {
			session := fmt.Sprintf(`"session":%d}`, i)
			if format == "text" {
				session = fmt.Sprintf(`"{\"session\":%d}"`, i)
			}
			if got, want := strings.Count(text, session), min(i, 1); got != want {
				t.Errorf("%s log has session %d %d times, want %d", format, i, got, want)
			}
		}
		if got := len(log.lines()); got != n {
			t.Errorf("%s log has %d lines, want %d", format, got, n)
		}
		for _, tok := range tokens {
			if id := tok[:10]; strings.Contains(text, id) {
				t.Errorf("%s log has the id of a session", format)
			}
		}
	}
}

func TestDumpOff(t *testing.T) {
	store := &listStore{list: func(context.Context, func(token.Session, error) bool) { t.Error("listed") }}
	s := serve(t, Config{Store: store})
	c := s.dial(t)
	for _, method := range []string{"HEAD", "GET", "POST", "OPTIONS"} {
		if r := c.do(method, "/dump", ""); r.status != 404 || r.header["Allow"] != nil {
			t.Errorf("%s /dump: %v, want 404", method, r)
		}
	}
	c.wantOpen()
}

// While a dump runs, a second one starts nothing, and all else goes on.
func TestOneDumpAtATime(t *testing.T) {
	var log logBuffer
	var started atomic.Int32
	release := make(chan struct{})
	store := &listStore{Store: newStore(t, shard.Config{})}
	store.list = func(ctx context.Context, yield func(token.Session, error) bool) {
		started.Add(1)
		<-release
		store.Store.Sessions(ctx)(yield)
	}
	s := serve(t, Config{Store: store, Dump: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := s.dial(t)
	for range 5 {
		c.dump()
		c.wantOpen()
		s.wantWorking(t)
	}
	eventually(t, "the dump starts", func() bool { return started.Load() > 0 })
	if got := started.Load(); got != 1 {
		t.Errorf("%d dumps run, want 1", got)
	}
	close(release)
	log.await(t, "dump complete", 1)
	for n := 2; n < 5; n++ { // the next one may start
		eventually(t, "the dump ends", func() bool { return !s.dump.running.Load() })
		c.dump()
		log.await(t, "dump complete", n)
	}
	if got := started.Load(); got != 4 {
		t.Errorf("%d dumps ran, want 4", got)
	}
}

func TestDumpThatFails(t *testing.T) {
	failures := map[string]func(yield func(token.Session, error) bool){
		"msg=\"dump failed\" error=\"engine is away\" sessions=1": func(yield func(token.Session, error) bool) {
			if yield(token.Session{Meta: []byte("{}")}, nil) {
				yield(token.Session{}, errors.New("engine is away"))
			}
		},
		"msg=\"recovered panic\" panic=\"a panic\"": func(func(token.Session, error) bool) { panic("a panic") },
	}
	for want, failure := range failures {
		var log logBuffer
		store := &listStore{Store: newStore(t, shard.Config{})}
		store.list = func(_ context.Context, yield func(token.Session, error) bool) { failure(yield) }
		s := serve(t, Config{Store: store, Dump: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		c := s.dial(t)
		for n := 1; n < 4; n++ {
			c.dump()
			log.await(t, want, n)
			eventually(t, "the dump ends", func() bool { return !s.dump.running.Load() })
		}
		if strings.Contains(log.String(), "dump complete") {
			t.Errorf("a dump that failed is called complete: %s", log.String())
		}
		c.wantOpen()
		s.wantWorking(t)
	}
}

// Shutdown ends a dump, and none starts after it.
func TestShutdownEndsDump(t *testing.T) {
	var log logBuffer
	listing := make(chan struct{})
	store := &listStore{list: func(ctx context.Context, yield func(token.Session, error) bool) {
		close(listing)
		<-ctx.Done()
		yield(token.Session{}, ctx.Err())
	}}
	s := serve(t, Config{Store: store, Dump: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := s.dial(t)
	c.dump()
	<-listing
	s.shutdown(t)
	if want := `msg="dump failed" error="context canceled"`; !strings.Contains(log.String(), want) {
		t.Errorf("log = %q, want %s", log.String(), want)
	}
	s.dump.start(func(context.Context) { t.Error("a dump started after Shutdown") })
}

// A dump that hangs, in a store or a log, does not keep Shutdown longer than it may take.
func TestShutdownDoesNotWaitForeverForDump(t *testing.T) {
	release, listing := make(chan struct{}), make(chan struct{})
	store := &listStore{list: func(context.Context, func(token.Session, error) bool) {
		close(listing)
		<-release
	}}
	s := serve(t, Config{Store: store, Dump: true})
	s.dial(t).dump()
	<-listing
	ctx, cancel := context.WithTimeout(context.Background(), hurry)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown() = %v, want %v", err, context.DeadlineExceeded)
	}
	if err := <-s.done; err != nil {
		t.Errorf("Serve() = %v", err)
	}
	close(release)
}

// The dump may be asked for in no other way.
func TestDumpIsOnlyHead(t *testing.T) {
	store := &listStore{list: func(context.Context, func(token.Session, error) bool) { t.Error("listed") }}
	c := serve(t, Config{Store: store, Dump: true}).dial(t)
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "head"} {
		c.do(method, "/dump", "").wantError(t, 405, "MethodNotAllowed")
	}
}
