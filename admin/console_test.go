package admin

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"tokenserver/access"
	"tokenserver/admin/console"
	"tokenserver/admin/sampler"
	"tokenserver/internal/stats"
)

// TestWhoMayAct: who may look at the console, and who may change something by it.
func TestWhoMayAct(t *testing.T) {
	secret, line, err := access.NewSecret("ops")
	if err != nil {
		t.Fatal(err)
	}
	web, webLine, err := access.NewSecret("web")
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := access.ParseSecrets([]byte(line + ":admin\n" + webLine + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	guard := access.NewGuard(secrets, nil)
	tests := []struct {
		name         string
		guard, local bool
		secret       string
		look, act    int
	}{
		{"nobody is asked, on loopback", false, true, "", 200, 200},
		{"nobody is asked, on the network", false, false, "", 200, 404},
		{"nobody, on loopback", true, true, "", 200, 401},
		{"a web server, on loopback", true, true, web, 200, 403},
		{"an admin, on loopback", true, true, secret, 200, 200},
		{"nobody, on the network", true, false, "", 401, 401},
		{"a web server, on the network", true, false, web, 403, 403},
		{"an admin, on the network", true, false, secret, 200, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // a refusal takes its time
				cfg := sampleConfig()
				s := sampler.New(sampler.Config{
					Store:     func(*stats.Detail) stats.Store { return stats.Store{} },
					Requests:  func() stats.Server { return stats.Server{} },
					Durations: func(h *stats.Histogram) { *h = stats.Histogram{Counts: make([]uint64, 1)} },
				})
				defer s.Close()
				var level slog.LevelVar
				c := console.Config{Sampler: s, Logger: cfg.Logger}
				if cfg.Local = tt.local; tt.guard {
					cfg.Guard = guard
				}
				if tt.guard || tt.local {
					c.Actions = &console.Actions{LogLevel: level.Level, SetLogLevel: level.Set}
				}
				cfg.Console = console.New(c)
				look := httptest.NewRequest("GET", "http://host/", nil)
				act := httptest.NewRequest("POST", "http://host/actions/log-level", strings.NewReader("level=debug&confirmed=yes"))
				act.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				if tt.secret != "" {
					look.SetBasicAuth("me", tt.secret)
					act.SetBasicAuth("me", tt.secret)
				}
				if got := ask(cfg, look); got.Code != tt.look {
					t.Errorf("looking = %d, want %d", got.Code, tt.look)
				}
				got := ask(cfg, act)
				if got.Code != tt.act || (level.Level() == slog.LevelDebug) != (tt.act == 200) {
					t.Errorf("acting = %d, the level %v, want %d", got.Code, level.Level(), tt.act)
				}
				if got.Code == 401 && !strings.Contains(fmt.Sprint(got.Result().Header), "Basic") {
					t.Errorf("the login is not asked for: %v", got.Result().Header)
				}
				evil := httptest.NewRequest("POST", "http://host/actions/log-level", strings.NewReader("level=error&confirmed=yes"))
				evil.Header = act.Header.Clone()
				evil.Header.Set("Sec-Fetch-Site", "cross-site")
				if got := ask(cfg, evil); got.Code < 400 || level.Level() == slog.LevelError {
					t.Errorf("an action of another site's page = %d, want that it is refused", got.Code)
				}
			})
		})
	}
}
