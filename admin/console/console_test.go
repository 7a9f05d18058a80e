package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tokenserver/admin/sampler"
	"tokenserver/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const script = `<script>alert(1)</script>`

// fullConfig has all modes at once, and a script in whatever has a text.
func fullConfig() sampler.Config {
	return sampler.Config{
		Store: func(d *stats.Detail) stats.Store {
			d.Reset()
			d.Shards = append(d.Shards, stats.Shard{Sessions: 3}, stats.Shard{Sessions: 4})
			d.Purges = []stats.Purge{{Ended: time.Now(), Took: time.Millisecond, Sessions: 2}}
			return stats.Store{
				Sessions: 7, MaxSessions: 10, MaxReserved: 100, Disk: &stats.Disk{Bytes: 5, Free: 6},
				Counters: stats.Counters{Invalid: 1},
			}
		},
		Requests: func() stats.Server { return stats.Server{Connections: 1, MaxConnections: 10} },
		Durations: func(h *stats.Histogram) {
			*h = stats.Histogram{Bounds: []time.Duration{time.Second}, Counts: append(h.Counts[:0], 1, 0)}
		},
		Ready:    func() error { return errors.New(script) },
		LogLevel: func() string { return "info" },
		Mode:     "durable", Build: stats.Build{Version: script, Commit: script, GoVersion: script},
		Warnings: []string{script},
		Logger:   slog.New(slog.DiscardHandler),
	}
}

func engineConfig() sampler.Config {
	cfg := fullConfig()
	cfg.Mode = "shared"
	cfg.Store = func(d *stats.Detail) stats.Store {
		d.Reset()
		return stats.Store{Engine: &stats.Engine{Up: true, Version: script, Eviction: "allkeys-lru", Memory: 1 << 30}}
	}
	return cfg
}

// newTest returns the routes of a Console, with actions that are remembered.
func newTest(t *testing.T, cfg sampler.Config) (c *Console, mux *http.ServeMux, did *[]string) {
	t.Helper()
	s := sampler.New(cfg)
	t.Cleanup(s.Close)
	did = new([]string)
	level := new(slog.LevelVar)
	c = New(Config{Sampler: s, Logger: slog.New(slog.DiscardHandler), MaxStreams: 2, Actions: &Actions{
		LogLevel: level.Level,
		SetLogLevel: func(l slog.Level) {
			level.Set(l)
			*did = append(*did, l.String())
		},
		EndSubject: func(_ context.Context, subject []byte) (int, error) {
			if string(subject) == "away" {
				return 0, errors.New("the store is away")
			}
			*did = append(*did, "end "+string(subject))
			return 2, nil
		},
	}})
	mux = http.NewServeMux()
	c.Register(mux)
	return c, mux, did
}

func get(mux http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestPage(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  sampler.Config
		want []string
	}{
		"durable": {fullConfig(), []string{"Healthy?", "How full?", "How fast?", "Are the shards well chosen?", "What is coming?", "Is somebody stealing?", "The disk", "Act"}},
		"shared":  {engineConfig(), []string{"Healthy?", "How full?", "How fast?", "Is somebody stealing?", "The engine", "Act"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, mux, _ := newTest(t, tt.cfg)
			w := get(mux, "/")
			body := w.Body.String()
			var got []string
			for _, h := range regexp.MustCompile(`<h2[^>]*>([^<]*)</h2>`).FindAllStringSubmatch(body, -1) {
				got = append(got, h[1])
			}
			if w.Code != 200 || !slices.Equal(got, tt.want) {
				t.Errorf("GET / = %d with %q, want %q", w.Code, got, tt.want)
			}
			if strings.Contains(body, script) || strings.Contains(body, "style=") || strings.Contains(body, "onclick") {
				t.Errorf("the page has a script or a style of its own:\n%s", body)
			}
			if p := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
				t.Errorf("policy = %q", p)
			}
			// All numbers are there without JavaScript, and none is left out.
			s := new(sampler.Sample)
			if err := json.Unmarshal(get(mux, "/stats").Body.Bytes(), s); err != nil {
				t.Fatal(err)
			}
			for _, id := range regexp.MustCompile(`data-text="([^"]+)"`).FindAllStringSubmatch(body, -1) {
				if _, ok := Texts(s)[id[1]]; !ok {
					t.Errorf("the page shows %q, which no sample has", id[1])
				}
			}
		})
	}
}

func TestAssets(t *testing.T) {
	_, mux, _ := newTest(t, fullConfig())
	for path, want := range map[string]string{"/console.js": "text/javascript; charset=utf-8", "/format.js": "text/javascript; charset=utf-8", "/console.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml"} {
		if w := get(mux, path); w.Code != 200 || w.Header().Get("Content-Type") != want || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s = %d %v", path, w.Code, w.Header())
		}
	}
	if w := get(mux, "/stats/history?span=1y"); w.Code != 400 {
		t.Errorf("an unknown span = %d, want 400", w.Code)
	}
}

// TestDocumentedShape: docs/console.md has each member of /stats, with its path, and no other.
func TestDocumentedShape(t *testing.T) {
	text, err := os.ReadFile("../../docs/console.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		want = append(want, row[1])
	}
	var got []string
	for _, cfg := range []sampler.Config{fullConfig(), engineConfig()} {
		_, mux, _ := newTest(t, cfg)
		var v any
		if err := json.Unmarshal(get(mux, "/stats").Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		got = append(got, paths("", v)...)
	}
	for _, name := range sampler.SeriesNames() {
		got = append(got, "last."+name)
	}
	got = append(got, "capacity.sessions.until_full_seconds", "capacity.memory_bytes.until_full_seconds",
		"capacity.disk_bytes.until_full_seconds", "capacity.connections.until_full_seconds")
	slices.Sort(got)
	slices.Sort(want)
	got, want = slices.Compact(got), slices.Compact(want)
	for _, p := range got {
		if !slices.Contains(want, p) {
			t.Errorf("docs/console.md does not have `%s`", p)
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("docs/console.md has `%s`, which /stats has not", p)
		}
	}
}

// paths returns the paths of all values.
func paths(path string, v any) (list []string) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			list = append(list, paths(strings.TrimPrefix(path+"."+name, "."), member)...)
		}
	case []any:
		for _, e := range v {
			list = append(list, paths(path+"[]", e)...)
		}
		if len(v) == 0 {
			return []string{path + "[]"}
		}
	default:
		return []string{path}
	}
	return list
}

func post(mux http.Handler, path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func TestActions(t *testing.T) {
	_, mux, did := newTest(t, fullConfig())
	tests := []struct {
		path string
		form url.Values
		code int
		says string
		does string
	}{
		{"log-level", url.Values{"level": {"debug"}}, 200, "to debug, until", ""},
		{"log-level", url.Values{"level": {"debug"}, "confirmed": {"yes"}}, 200, "is debug", "DEBUG"},
		{"log-level", url.Values{"level": {"loud"}, "confirmed": {"yes"}}, 400, "must be one of", ""},
		{"log-level", url.Values{"level": {script}}, 400, "must be one of", ""},
		{"end-subject", url.Values{"subject": {"ada"}}, 200, "<bdi>ada</bdi>", ""},
		{"end-subject", url.Values{"subject": {"ada"}, "confirmed": {"yes"}}, 200, "2 sessions", "end ada"},
		{"end-subject", url.Values{"subject": {script}}, 200, "&lt;script&gt;alert(1)", ""},
		{"end-subject", url.Values{"subject": {"ada\u202e\u200b\x00\xff"}}, 200, `<bdi>ada\u202e\u200b\u0000\xff</bdi>`, ""},
		{"end-subject", url.Values{"subject": {"ada\u202e"}, "confirmed": {"yes"}}, 200, "2 sessions", "end ada\u202e"},
		{"end-subject", url.Values{"subject": {""}, "confirmed": {"yes"}}, 400, "1 to 256", ""},
		{"end-subject", url.Values{"subject": {strings.Repeat("x", 257)}, "confirmed": {"yes"}}, 400, "1 to 256", ""},
		{"end-subject", url.Values{"subject": {"away"}, "confirmed": {"yes"}}, 503, "does not answer", ""},
		{"end-subject", url.Values{"subject": {strings.Repeat("x", 5000)}}, 400, "could not be read", ""},
		{"profile", url.Values{}, 200, "CPU profile of 10 s?", ""},
	}
	for _, tt := range tests {
		*did = nil
		w := post(mux, ActionPath+tt.path, tt.form)
		if body := w.Body.String(); w.Code != tt.code || !strings.Contains(body, tt.says) || strings.Contains(body, script) {
			t.Errorf("%s %v = %d %s, want %d with %q", tt.path, tt.form, w.Code, body, tt.code, tt.says)
		}
		if got := strings.Join(*did, ","); got != tt.does {
			t.Errorf("%s %v did %q, want %q", tt.path, tt.form, got, tt.does)
		}
	}
	if w := get(mux, ActionPath+"log-level?level=debug&confirmed=yes"); w.Code != 405 {
		t.Errorf("GET of an action = %d, want 405", w.Code)
	}
}

// What a form has in its address instead of its body does nothing.
func TestActionTakesItsBodyAlone(t *testing.T) {
	_, mux, did := newTest(t, fullConfig())
	if w := post(mux, ActionPath+"end-subject?subject=ada&confirmed=yes", nil); w.Code != 400 || len(*did) > 0 {
		t.Errorf("an action in the address = %d, did %q, want 400 and nothing", w.Code, *did)
	}
}

func TestProfile(t *testing.T) {
	c, mux, _ := newTest(t, fullConfig())
	c.profileTime = time.Millisecond
	w := post(mux, ActionPath+"profile", url.Values{"confirmed": {"yes"}})
	if w.Code != 200 || w.Body.Len() == 0 || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("profile = %d with %d bytes %v", w.Code, w.Body.Len(), w.Header())
	}
	c.profileTime = time.Hour
	c.EndStreams()
	if w := post(mux, ActionPath+"profile", url.Values{"confirmed": {"yes"}}); w.Code != 503 {
		t.Errorf("profile while the server stops = %d, want 503", w.Code)
	}
}

// serve serves a Console on pipes, as the admin listener does.
func serve(t *testing.T, c *Console, mux *http.ServeMux) (dial func() net.Conn, s *http.Server) {
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s = &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	s.RegisterOnShutdown(c.EndStreams)
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return func() net.Conn {
		client, server := net.Pipe()
		ln.conns <- server
		t.Cleanup(func() { client.Close() })
		io.WriteString(client, "GET /stats/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
		return client
	}, s
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// A stream goes on beyond all time limits of the listener, with one event a second, and ends
// with the server, which need not cut it off.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, mux, _ := newTest(t, fullConfig())
		dial, s := serve(t, c, mux)
		conn := dial()
		var events bytes.Buffer
		ended := make(chan struct{})
		go func() {
			io.Copy(&events, conn)
			close(ended)
		}()
		time.Sleep(100*time.Second + time.Second/2)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v, want that nothing is cut off", err)
		}
		<-ended
		if n := strings.Count(events.String(), "data: {"); n < 100 || n > 102 {
			t.Errorf("%d events in 100 s, want one a second", n)
		}
	})
}

// A profile takes longer than the listener waits for a request.
func TestProfileOutlivesTheReadTimeout(t *testing.T) {
	c, mux, _ := newTest(t, fullConfig())
	s := httptest.NewUnstartedServer(mux)
	s.Config.ReadTimeout, c.profileTime = time.Second, 1500*time.Millisecond
	s.Start()
	defer s.Close()
	res, err := s.Client().PostForm(s.URL+ActionPath+"profile", url.Values{"confirmed": {"yes"}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if data, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		t.Errorf("profile = %d with %d bytes, %v", res.StatusCode, len(data), err)
	}
}

// Who does not read is cut off, and keeps no room from others.
func TestStreamOfOneWhoDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, mux, _ := newTest(t, fullConfig())
		dial, _ := serve(t, c, mux)
		dial()
		synctest.Wait()
		if n := c.streams.Load(); n != 1 {
			t.Fatalf("%d streams, want 1", n)
		}
		time.Sleep(streamTimeout + time.Second)
		synctest.Wait()
		if n := c.streams.Load(); n != 0 {
			t.Errorf("%d streams after %v, want none", n, streamTimeout)
		}
	})
}

// Whoever asks for the headers of a stream does not view it.
func TestHeadOfStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, mux, _ := newTest(t, fullConfig())
		r := httptest.NewRequestWithContext(t.Context(), "HEAD", "/stats/stream", nil)
		go mux.ServeHTTP(httptest.NewRecorder(), r)
		synctest.Wait()
		if n := c.streams.Load(); n != 0 {
			t.Errorf("HEAD has %d streams, want none", n)
		}
		c.EndStreams()
	})
}

// Who gets no stream asks for one event after the other.
func TestEvent(t *testing.T) {
	c, mux, _ := newTest(t, fullConfig())
	w := get(mux, "/stats/event")
	var got frame
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("event = %d %s, %v", w.Code, w.Body, err)
	}
	if want := c.cfg.Sampler.Latest(); got.Stats.Number != want.Number || !maps.Equal(got.Text, Texts(want)) {
		t.Errorf("event = %+v, want sample %d", got, want.Number)
	}
}

// The page shows nothing that is not seen, and that could pass for something else.
func TestPageShowsWhatIsNotSeen(t *testing.T) {
	_, mux, _ := newTest(t, func() sampler.Config {
		cfg := fullConfig()
		cfg.Warnings, cfg.Ready = []string{"a\u202eb"}, func() error { return errors.New("c\u2066d") }
		return cfg
	}())
	body := get(mux, "/").Body.String()
	for _, want := range []string{`a\u202eb`, `c\u2066d`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.ContainsAny(body, "\u202e\u2066") {
		t.Error("the page has characters that change the direction of writing")
	}
}

func TestTooManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, mux, _ := newTest(t, fullConfig())
		dial, _ := serve(t, c, mux)
		for range c.cfg.MaxStreams {
			go io.Copy(io.Discard, dial())
		}
		synctest.Wait()
		if w := get(mux, "/stats/stream"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("one stream too many = %d %v, want 503 with Retry-After", w.Code, w.Header())
		}
	})
}

// All viewers get the same bytes.
func TestFramesAreMadeOnce(t *testing.T) {
	c, _, _ := newTest(t, fullConfig())
	s := c.cfg.Sampler.Latest()
	if a, b := c.frames.of(s), c.frames.of(s); &a[0] != &b[0] {
		t.Error("a sample was encoded twice")
	}
}

func TestWriteText(t *testing.T) {
	c, _, _ := newTest(t, func() sampler.Config {
		cfg := fullConfig()
		cfg.Warnings = []string{"\x1b[2J\u202egone"}
		return cfg
	}())
	var out strings.Builder
	if err := WriteText(&out, c.cfg.Sampler.Latest()); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "sessions               7 of 10 (70 %)") || !strings.Contains(text, `\u001b[2J\u202egone`) || regexp.MustCompile(`(?m)^\s+[0-9,]+$`).MatchString(text) {
		t.Errorf("text = %q", text)
	}
}

// What another program, or another version, answers is no reason to crash.
func TestWriteTextOfStrangers(t *testing.T) {
	for _, answer := range []string{
		`{}`,
		`{"shards":{},"expiring":{},"disk":{},"engine":{}}`,
		`{"expiring":{"step_seconds":-1,"sessions":[1e300],"later":-1e300}}`,
		`{"capacity":{"connections":{"used":-9223372036854775808}},"rates":{"exchanged":1e300}}`,
	} {
		s := new(sampler.Sample)
		if err := json.Unmarshal([]byte(answer), s); err != nil {
			t.Fatal(err)
		}
		if err := WriteText(io.Discard, s); err != nil {
			t.Errorf("text of %s: %v", answer, err)
		}
	}
}

func TestNoPurgeYet(t *testing.T) {
	for _, tt := range []struct {
		purges []sampler.Purge
		want   string
	}{{nil, "none yet"}, {[]sampler.Purge{{Sessions: 2}}, "00:00:00 UTC"}} {
		got := Texts(&sampler.Sample{Expiring: &sampler.Expiring{Purges: tt.purges}})
		if got["purge.0.ended"] != tt.want || got["purge.1.ended"] != "" {
			t.Errorf("purges %v: %q, %q, want %q and nothing", tt.purges, got["purge.0.ended"], got["purge.1.ended"], tt.want)
		}
	}
}
