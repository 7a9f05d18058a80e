package durable

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tokenserver/token"
)

// Every data directory that an earlier commit wrote opens. testdata/v1 has those of
// the first format: one that was closed, and one that a crash has left with nothing
// but a log. Beside each lies what is in it. A directory is never written anew: a
// later format gets one of its own.

var update = flag.Bool("update", false, "write the data directories of compatDir, for a format that has none")

const compatDir = "testdata/v1"

// Lifetimes of the sessions, which outlive the test.
const (
	year            = 365 * 24 * time.Hour
	compatLifetime  = 40 * year
	compatOwn       = 30 * year
	compatAbsolute  = 60 * year
	compatGrace     = 90 * year
	compatPrecision = 2 * time.Second // what a correction of the clock may change
	compatSubject   = "bob"
	compatMemTable  = 64 << 10
)

// compatSession is what is known of a session.
type compatSession struct {
	Token   string   // the current one; empty if the session has ended
	Spent   []string `json:",omitempty"`
	Reused  bool     `json:",omitempty"` // spent tokens are in their grace
	Subject string   `json:",omitempty"`
	Meta    string
	Expires time.Time
}

func TestEarlierDirectoriesOpen(t *testing.T) {
	for _, name := range []string{"closed", "crashed"} {
		t.Run(name, func(t *testing.T) {
			from := filepath.Join(compatDir, name)
			if *update {
				if _, err := os.Stat(from); err == nil {
					t.Fatalf("%s is there: it is what an earlier program wrote, and is never written anew", from)
				}
				writeCompat(t, from, name == "crashed")
			}
			cfg := compatConfig(filepath.Join(t.TempDir(), "sessions"), true)
			copyDir(t, filepath.Join(from, "sessions"), cfg.Dir)
			sessions := readCompat(t, from)
			for range 2 { // as it was left, and as it was closed then
				s := mustOpen(t, cfg)
				checkCompat(t, s, sessions)
				mustClose(t, s)
			}
		})
	}
}

// compatConfig has a grace and an absolute lifetime, or neither.
func compatConfig(dir string, policies bool) Config {
	cfg := memConfig(nil)
	cfg.Dir, cfg.MemTableBytes = dir, compatMemTable
	cfg.Store.Lifetime = compatLifetime
	if policies {
		cfg.Store.Grace, cfg.Store.MaxLifetime = compatGrace, compatAbsolute
	}
	return cfg
}

func readCompat(t *testing.T, dir string) (sessions []compatSession) {
	data, err := os.ReadFile(filepath.Join(dir, "sessions.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &sessions); err != nil {
		t.Fatal(err)
	}
	return sessions
}

// checkCompat expects all sessions, and no others.
func checkCompat(t *testing.T, s *Store, sessions []compatSession) {
	t.Helper()
	live, subjects := int64(0), 0
	for _, c := range sessions {
		for _, spent := range c.Spent {
			checkCompatSpent(t, s, &c, spent)
		}
		if c.Token == "" {
			continue
		}
		live++
		if c.Subject != "" {
			subjects++
		}
		meta, expires, err := s.Validate(t.Context(), parse(t, c.Token), nil)
		if err != nil || string(meta) != c.Meta || expires.Sub(c.Expires).Abs() > compatPrecision {
			t.Errorf("Validate = %s, %v, error %v, want %s, %v", meta, expires, err, c.Meta, c.Expires)
		}
	}
	if got := s.Stats().Sessions; got != live {
		t.Errorf("there are %d sessions, want %d", got, live)
	}
	list, _, err := s.SubjectSessions(t.Context(), []byte(compatSubject), token.Page{Limit: 1000})
	if err != nil || len(list) != subjects {
		t.Errorf("the subject has %d sessions, error %v, want %d", len(list), err, subjects)
	}
}

func checkCompatSpent(t *testing.T, s *Store, c *compatSession, spent string) {
	t.Helper()
	got, err := s.Exchange(t.Context(), parse(t, spent), token.Patch{}, nil)
	if !c.Reused {
		if !errors.Is(err, token.ErrInvalid) {
			t.Errorf("Exchange of a spent token = error %v, want %v", err, token.ErrInvalid)
		}
		return
	}
	if err != nil || !got.Reused || text(got.Token) != c.Token {
		t.Errorf("Exchange in a grace = reused %v, error %v, want the current token", got.Reused, err)
	}
}

// writeCompat writes a data directory and what is in it. One that crashes has
// neither been closed nor opened before.
func writeCompat(t *testing.T, dir string, crash bool) {
	var sessions []compatSession
	cfg := compatConfig(filepath.Join(t.TempDir(), "sessions"), false)
	if !crash {
		s := mustOpen(t, cfg)
		sessions = addCompat(t, s, sessions, false)
		mustClose(t, s)
	}
	cfg = compatConfig(cfg.Dir, true)
	s := mustOpen(t, cfg)
	sessions = addCompat(t, s, sessions, true)
	if !crash {
		mustClose(t, s)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, cfg.Dir, filepath.Join(dir, "sessions"))
	if crash {
		mustClose(t, s)
	}
	data, err := json.MarshalIndent(sessions, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sessions.json"), append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// addCompat adds sessions of each kind: unused, exchanged, exchanged more often
// than a grace remembers, and ended.
func addCompat(t *testing.T, s *Store, all []compatSession, grace bool) []compatSession {
	for _, n := range []token.NewSession{
		{Meta: []byte(`{}`)},
		{Meta: []byte(`{"name":"someone","roles":["a","b"],"n":1.0}`)},
		{Meta: []byte(`{"kind":"subject"}`), Subject: []byte(compatSubject)},
		{Meta: []byte(`{"kind":"own lifetime"}`), Lifetime: compatOwn},
		{Meta: []byte(`{"kind":"both"}`), Subject: []byte(compatSubject), Lifetime: compatOwn},
	} {
		for _, exchanges := range []int{0, 1, token.GraceDepth} {
			all = append(all, newCompat(t, s, n, exchanges, grace))
		}
		ended := newCompat(t, s, n, 1, false)
		if err := s.Delete(t.Context(), parse(t, ended.Token)); err != nil {
			t.Fatal(err)
		}
		all = append(all, compatSession{Spent: append(ended.Spent, ended.Token)})
	}
	return all
}

func newCompat(t *testing.T, s *Store, n token.NewSession, exchanges int, grace bool) compatSession {
	tok, err := s.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	c := compatSession{Subject: string(n.Subject), Reused: grace && exchanges > 0}
	for i := range exchanges {
		c.Spent = append(c.Spent, text(tok))
		tok = mustExchange(t, s, tok, `{"i":`+string('0'+rune(i))+`}`)
	}
	meta, expires, err := s.Validate(t.Context(), tok, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Token, c.Meta, c.Expires = text(tok), string(meta), expires.UTC()
	return c
}

func text(tok token.Token) string { return string(tok.Append(nil)) }

func parse(t *testing.T, text string) token.Token {
	t.Helper()
	tok, err := token.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// copyDir copies the files of a directory into a new one.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, dirMode); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), data, fileMode); err != nil {
			t.Fatal(err)
		}
	}
}
