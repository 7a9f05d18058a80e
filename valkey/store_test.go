package valkey

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

func mustCreate(t testing.TB, s *Store, n token.NewSession) token.Token {
	t.Helper()
	tok, err := s.Create(t.Context(), n)
	if err != nil {
		t.Fatalf("Create = error %v", err)
	}
	return tok
}

func mustExchange(t testing.TB, s *Store, tok token.Token, patch token.Patch, want string) token.Token {
	t.Helper()
	x, err := s.Exchange(t.Context(), tok, patch, nil)
	if err != nil || string(x.Meta) != want {
		t.Fatalf("Exchange = %s, error %v, want %s", x.Meta, err, want)
	}
	return x.Token
}

func wantInvalid(t testing.TB, s *Store, tok token.Token) {
	t.Helper()
	if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); !errors.Is(err, token.ErrInvalid) {
		t.Fatalf("Exchange = error %v, want %v", err, token.ErrInvalid)
	}
}

// raw returns the value of a session as the engine has it.
func raw(t testing.TB, s *Store, id token.ID) string {
	t.Helper()
	text, err := s.client().Do(t.Context(), s.client().B().Get().Key(s.keys.session(id)).Build()).ToString()
	if err != nil {
		t.Fatalf("GET = error %v", err)
	}
	return text
}

// lines returns how many lines the tail of a session has.
func lines(t testing.TB, s *Store, id token.ID) int {
	t.Helper()
	v, err := decode(raw(t, s, id))
	if err != nil {
		t.Fatal(err)
	}
	_, tail := cutTail(v.content)
	return strings.Count(tail, "\n")
}

// TestTailIsMerged: patches wait behind the metadata, but not for ever.
func TestTailIsMerged(t *testing.T) {
	e := enginetest.Start(t)
	for _, grace := range []time.Duration{0, time.Minute} {
		s := open(t, Config{Grace: grace}, e.Address())
		tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{"n":0}`)})
		first, longest := tok, 0
		for n := 1; n < 40; n++ {
			tok = mustExchange(t, s, tok, token.Patch{Meta: fmt.Appendf(nil, `{"n":%d}`, n)}, fmt.Sprintf(`{"n":%d}`, n))
			longest = max(longest, lines(t, s, tok.ID))
		}
		if longest != maxTailLines {
			t.Errorf("with a grace of %v the longest tail has %d lines, want %d", grace, longest, maxTailLines)
		}
		wantInvalid(t, s, first)
	}
}

// TestReplaysAreMerged: patches of replays too.
func TestReplaysAreMerged(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Grace: time.Minute}, e.Address())
	spent := mustCreate(t, s, token.NewSession{Meta: []byte(`{"n":0}`)})
	current := mustExchange(t, s, spent, token.Patch{}, `{"n":0}`)
	longest := 0
	for n := 1; n < 40; n++ {
		patch := token.Patch{Meta: fmt.Appendf(nil, `{"n":%d,"go":1}`, n), Unset: []byte(`["go"]`)}
		if got := mustExchange(t, s, spent, patch, fmt.Sprintf(`{"n":%d}`, n)); got != current {
			t.Fatal("a replay got another token than the current one")
		}
		longest = max(longest, lines(t, s, spent.ID))
	}
	if longest != maxTailLines {
		t.Errorf("the longest tail has %d lines, want %d", longest, maxTailLines)
	}
	mustExchange(t, s, current, token.Patch{}, `{"n":39}`)
}

// TestIndexIsRenewed: a session that is exchanged outlives what its subject's index was
// first given, and stays in it.
func TestIndexIsRenewed(t *testing.T) {
	e := enginetest.Start(t)
	const lifetime = time.Hour
	s := open(t, Config{Lifetime: lifetime}, e.Address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
	for range 8 {
		makeOlder(t, s, lifetime/2)
		tok = mustExchange(t, s, tok, token.Patch{}, `{}`)
		if _, expires, err := s.Validate(t.Context(), tok, nil); err != nil || time.Until(expires) < lifetime*3/4 {
			t.Fatalf("the session expires in %v, error %v, want in %v", time.Until(expires), err, lifetime)
		}
	}
	if n, err := s.EndSubject(t.Context(), []byte("ada")); n != 1 || err != nil {
		t.Errorf("EndSubject = %d, error %v, want 1", n, err)
	}
}

// TestIndexIsCleaned: what has expired does not stay in an index for ever.
func TestIndexIsCleaned(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{}, e.Address())
	create := func(lifetime time.Duration) {
		mustCreate(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada"), Lifetime: lifetime})
	}
	for range 2 * staleMembers {
		create(time.Hour)
	}
	for range 100 {
		create(time.Minute)
	}
	makeOlder(t, s, time.Minute)
	for range 100 {
		create(time.Hour)
	}
	members, err := s.membersOf(newSubject([]byte("ada")), 0, 1000)
	if want := 2*staleMembers + 100 + 50; len(members) > want || err != nil {
		t.Errorf("the index has %d members, error %v, want %d at most", len(members), err, want)
	}
}

// TestDeletedLeaveTheIndex at once.
func TestDeletedLeaveTheIndex(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{}, e.Address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
	if err := s.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	if members, err := s.membersOf(newSubject([]byte("ada")), 0, 10); len(members) > 0 || err != nil {
		t.Errorf("the index has %d members, error %v, want none", len(members), err)
	}
}

// TestPoliciesComeWithAnExchange: sessions of a store without policies get them.
func TestPoliciesComeWithAnExchange(t *testing.T) {
	e := enginetest.Start(t)
	engine := Engine{Hosts: []string{e.Address()}, Prefix: "x:"}
	before := open(t, Config{Engine: engine})
	after := open(t, Config{Engine: engine, Grace: time.Minute, MaxLifetime: time.Minute})
	spent := mustCreate(t, before, token.NewSession{Meta: []byte(`{"a":1}`)})
	current := mustExchange(t, after, spent, token.Patch{}, `{"a":1}`)
	if x, err := after.Exchange(t.Context(), spent, token.Patch{}, nil); err != nil || !x.Reused || x.Token != current {
		t.Errorf("Exchange in the grace = reused %v, error %v, want the current token", x.Reused, err)
	}
	if _, expires, err := after.Validate(t.Context(), current, nil); err != nil || time.Until(expires) > time.Minute+time.Second {
		t.Errorf("the session expires in %v, error %v, want in a minute by the engine's clock", time.Until(expires), err)
	}
	mustExchange(t, before, current, token.Patch{Unset: []byte(`["a"]`)}, `{}`)
}

// TestUnknownFormat: what a newer version has written is neither spent nor called invalid.
func TestUnknownFormat(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Grace: time.Minute}, e.Address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	newer := []byte(raw(t, s, tok.ID))
	newer[formatAt] = 2
	set := s.client().B().Set().Key(s.keys.session(tok.ID)).Value(string(newer)).ExSeconds(60).Build()
	if err := s.client().Do(t.Context(), set).Error(); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"Exchange":        func() error { _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); return err },
		"Exchange, spent": func() error { _, err := s.Exchange(t.Context(), tok.Next(), token.Patch{}, nil); return err },
		"Exchange, patch": func() error {
			_, err := s.Exchange(t.Context(), tok, token.Patch{Meta: []byte(`{"a":1}`)}, nil)
			return err
		},
		"Validate":         func() error { _, _, err := s.Validate(t.Context(), tok, nil); return err },
		"Delete of a late": func() error { return s.Delete(t.Context(), tok.Next()) },
	}
	for name, call := range calls {
		if err := call(); !isUndone(err) || !strings.Contains(err.Error(), "(format 2)") {
			t.Errorf("%s = error %v, want that nothing was carried out, and the format", name, err)
		}
	}
	if got := raw(t, s, tok.ID); got != string(newer) {
		t.Errorf("the value has changed to %q", got)
	}
}

// TestEngineHoldsNoSecrets reads all that there is.
func TestEngineHoldsNoSecrets(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Grace: time.Minute, MaxLifetime: time.Hour}, e.Address())
	var secrets [][]byte
	hide := func(tok token.Token) {
		text := tok.Append(nil)
		secrets = append(secrets, bytes.Clone(tok.Nonce[:]), text[(8*token.IDLen+5)/6:]) // all of the nonce but some bits
	}
	for i := range 20 {
		tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{"a":1}`), Subject: []byte("a-user's-name")})
		hide(tok)
		for range i {
			tok = mustExchange(t, s, tok, token.Patch{Meta: []byte(`{"b":1}`)}, `{"a":1,"b":1}`)
			hide(tok)
		}
	}
	secrets = append(secrets, testKey, []byte("a-user's-name"))
	for _, text := range everything(t, s) {
		for _, secret := range secrets {
			for _, form := range []string{string(secret), hex.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret)} {
				if strings.Contains(text, form) {
					t.Fatalf("the engine holds %q as %q in %q", secret, form, text)
				}
			}
		}
	}
}

// everything returns all keys of an engine, and what they hold.
func everything(t testing.TB, s *Store) (texts []string) {
	t.Helper()
	c := s.client()
	found, err := c.Do(t.Context(), c.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil || len(found) < 2 {
		t.Fatalf("KEYS = %d keys, error %v", len(found), err)
	}
	for _, key := range found {
		dump, err := c.Do(t.Context(), c.B().Get().Key(key).Build()).ToString()
		if err != nil {
			var members []string
			members, err = c.Do(t.Context(), c.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice()
			dump = strings.Join(members, " ")
		}
		if err != nil {
			t.Fatalf("%s: error %v", key, err)
		}
		texts = append(texts, key, dump)
	}
	return texts
}

// TestTwoServers: a token of one server is exchanged at another, once.
func TestTwoServers(t *testing.T) {
	const rounds, contestants = 1000, 64
	e := enginetest.Start(t)
	engine := Engine{Hosts: []string{e.Address()}}
	engine.Prefix = "two:"
	servers := [2]*Store{
		open(t, Config{Engine: engine, Timeout: MaxTimeout}),
		open(t, Config{Engine: engine, Timeout: MaxTimeout}),
	}
	tok := mustCreate(t, servers[0], token.NewSession{Meta: []byte(`{}`)})
	for round := range rounds {
		var mu sync.Mutex
		var winners []token.Token
		var all sync.WaitGroup
		for i := range contestants {
			all.Go(func() {
				x, err := servers[i%2].Exchange(context.Background(), tok, token.Patch{}, nil)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners = append(winners, x.Token)
				} else if !errors.Is(err, token.ErrInvalid) {
					t.Errorf("Exchange = error %v", err)
				}
			})
		}
		all.Wait()
		if len(winners) != 1 {
			t.Fatalf("round %d: %d winners, want 1", round, len(winners))
		}
		tok = winners[0]
	}
}
