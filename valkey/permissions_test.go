package valkey

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// documented returns the permissions that docs/shared.md gives to a user of the engine.
func documented(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/shared.md")
	line := regexp.MustCompile(`(?m)^ACL SETUSER token-server on >PASSWORD (~ts:\* -@all \+.*)$`).FindSubmatch(text)
	if err != nil || line == nil {
		t.Fatalf("docs/shared.md has no ACL, error %v", err)
	}
	return strings.Fields(string(line[1]))
}

// TestPermissions: those that docs/shared.md names are enough for all that a store does, and one
// that is missing is told at the start, but for those that nobody's call depends on.
func TestPermissions(t *testing.T) {
	t.Run("engine", func(t *testing.T) {
		e := enginetest.Start(t)
		checkPermitted(t, []*enginetest.Engine{e}, "role", "cluster|slots", "cluster|shards")
	})
	t.Run("cluster", func(t *testing.T) {
		checkPermitted(t, enginetest.StartCluster(t, 3, enginetest.Patient), "role", "cluster|shards")
	})
}

// checkPermitted checks the permissions at an engine, which may not need all of them.
func checkPermitted(t *testing.T, nodes []*enginetest.Engine, unneeded ...string) {
	all := documented(t)
	tell := func(command string) {
		t.Helper()
		for _, e := range nodes {
			e.Must(command)
		}
	}
	tell("ACL SETUSER app reset on >p " + strings.Join(all, " "))
	cfg := Config{Timeout: MaxTimeout, Lifetime: time.Hour, Engine: Engine{Hosts: enginetest.Addresses(nodes), Username: "app", Password: "p", Prefix: DefaultPrefix}}
	for _, cfg.Grace = range []time.Duration{0, time.Minute} {
		doAll(t, open(t, cfg), open(t, Config{Engine: Engine{Prefix: DefaultPrefix}}, cfg.Engine.Hosts...))
	}
	for _, e := range nodes {
		if got := e.AskAll("ACL LOG"); strings.TrimSpace(got) != "*0" {
			t.Errorf("the engine has refused something:\n%s", got)
		}
	}
	unneeded = append(unneeded, "info", "config|get", "randomkey", "memory|usage")
	cfg.Grace = 0
	for _, permission := range all {
		name, isOne := strings.CutPrefix(permission, "+")
		if !isOne || name == "@connection" || slices.Contains(unneeded, name) {
			continue
		}
		tell("ACL SETUSER app -" + name)
		if err := openError(t, cfg); !errors.Is(err, ErrRefused) {
			t.Errorf("without %s: Open = error %v, want %v", name, err, ErrRefused)
		}
		tell("ACL SETUSER app " + permission)
	}
	for _, name := range unneeded {
		tell("ACL SETUSER app -" + name)
	}
	mustCreate(t, open(t, cfg), token.NewSession{Meta: []byte(`{}`)})
}

// doAll does all that a store does. With another one of the same sessions, time passes.
func doAll(t *testing.T, s, other *Store) {
	t.Helper()
	subject := []byte("ada")
	for _, session := range []token.NewSession{{}, {Subject: subject}, {Lifetime: time.Hour}} {
		session.Meta = fmt.Appendf(nil, `{"text":"%s"}`, bytes.Repeat([]byte("x"), 4096))
		tok := mustCreate(t, s, session)
		mustExchange(t, s, tok, token.Patch{}, string(session.Meta))
		session.Meta = []byte(`{}`)
		tok = mustCreate(t, s, session)
		for n := range 2 * maxTailLines {
			spent := tok
			tok = mustExchange(t, s, tok, token.Patch{Meta: fmt.Appendf(nil, `{"n":%d,"go":1}`, n), Unset: []byte(`["go"]`)}, fmt.Sprintf(`{"n":%d}`, n))
			if s.grace != 0 {
				mustExchange(t, s, spent, token.Patch{Meta: fmt.Appendf(nil, `{"n":%d}`, n)}, fmt.Sprintf(`{"n":%d}`, n))
			}
		}
		makeOlder(t, other, 40*time.Minute)
		tok = mustExchange(t, s, tok, token.Patch{}, fmt.Sprintf(`{"n":%d}`, 2*maxTailLines-1)) // renews an index
		b := token.Batch{Items: []token.BatchItem{{Op: token.OpValidate, Token: tok}, {Op: token.OpExchange, Token: tok}, {Op: token.OpDelete, Token: token.Generate()}}}
		if err := s.Batch(t.Context(), &b); err != nil || b.Items[0].Err != nil || b.Items[1].Err != nil {
			t.Errorf("Batch = error %v, %v, %v", err, b.Items[0].Err, b.Items[1].Err)
		}
	}
	keep := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`), Subject: subject})
	if _, _, err := s.SubjectSessions(t.Context(), subject, token.Page{Limit: 10}); err != nil {
		t.Errorf("SubjectSessions = error %v", err)
	}
	if _, err := s.EndOthers(t.Context(), subject, keep); err != nil {
		t.Errorf("EndOthers = error %v", err)
	}
	if n, err := s.EndSubject(t.Context(), subject); n != 1 || err != nil {
		t.Errorf("EndSubject = %d, error %v, want 1", n, err)
	}
	if err := s.Delete(t.Context(), mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})); err != nil {
		t.Errorf("Delete = error %v", err)
	}
	for _, err := range s.Sessions(t.Context()) {
		if err != nil {
			t.Errorf("Sessions = error %v", err)
		}
	}
	s.inspect(true, 0)
	s.lookAtID()
}

// TestWarnsOfForbiddenChecks: what is checked at the start may be forbidden, and is told.
func TestWarnsOfForbiddenChecks(t *testing.T) {
	e := enginetest.Start(t)
	var log lockedBuffer
	e.Must("ACL SETUSER default -info -config")
	open(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, e.Address())
	for _, want := range []string{"does not tell its version", "does not tell how it is set"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no line says %q:\n%s", want, log.String())
		}
	}
}
