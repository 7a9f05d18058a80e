package valkey

import (
	"fmt"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/storetest"
	"tokenserver/token"
)

// setValue puts a value under a session's key, as another version would.
func setValue(t testing.TB, s *Store, id token.ID, value string) {
	t.Helper()
	set := s.client().B().Set().Key(s.keys.session(id)).Value(value).ExSeconds(600).Build()
	if err := s.client().Do(t.Context(), set).Error(); err != nil {
		t.Fatal(err)
	}
}

// TestValuesOfVersion1: what the first version has written is read by all later ones.
func TestValuesOfVersion1(t *testing.T) {
	e := enginetest.Start(t)
	tok := token.Generate()
	digest := tok.Digest()
	head := string(digest[:]) + "\x01callcall" + "\x00\x00\x00\x02" + "\x00\x06\x0a\x24\x18\x1e\x40\x01" + // format, call, changes, created
		"\x00\x00\x00\x36\xee\x80" + "\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00" + // an hour, no absolute deadline, no index
		string(make([]byte, subjectLen+spentLen))
	for name, value := range map[string]string{
		"plain":               string(digest[:]) + `{"a":1}`,
		"plain with a tail":   string(digest[:]) + `{"a":2,"c":1}` + "\n" + `{"a":1}` + "\n" + `["c"]`,
		"extended":            head + `{"a":1}`,
		"extended, with tail": head + `{}` + "\n" + `{"a":1}`,
	} {
		for _, grace := range []time.Duration{0, time.Minute} {
			s := open(t, Config{Timeout: MaxTimeout, Grace: grace}, e.Address())
			setValue(t, s, tok.ID, value)
			if meta, _, err := s.Validate(t.Context(), tok, nil); string(meta) != `{"a":1}` || err != nil {
				t.Errorf("%s: Validate = %s, error %v", name, meta, err)
			}
			next := mustExchange(t, s, tok, token.Patch{Meta: []byte(`{"b":1}`)}, `{"a":1,"b":1}`)
			mustExchange(t, s, next, token.Patch{}, `{"a":1,"b":1}`)
		}
	}
}

// TestMixedFleet: servers that write different formats share sessions. Those of a version that is
// not there yet are told apart from them, and are as they were afterwards.
func TestMixedFleet(t *testing.T) {
	e := enginetest.Start(t)
	engine := Engine{Hosts: []string{e.Address()}, Prefix: "mixed:"}
	fleet := []*Store{
		open(t, Config{Engine: engine, Timeout: MaxTimeout}),
		open(t, Config{Engine: engine, Timeout: MaxTimeout, Grace: time.Minute, MaxLifetime: 12 * time.Hour}),
	}
	newer := token.Generate()
	digest := newer.Digest()
	of := string(digest[:]) + "\x02what a later version needs{}"
	setValue(t, fleet[0], newer.ID, of)
	rng := storetest.NewRand(storetest.Seed(t))
	type session struct {
		token token.Token
		n     int
	}
	sessions := make([]session, 20)
	for step := range 2000 {
		s, i := fleet[rng.IntN(len(fleet))], rng.IntN(len(sessions))
		x := &sessions[i]
		switch {
		case x.token == token.Token{}:
			*x = session{token: mustCreate(t, s, token.NewSession{Meta: []byte(`{"n":0}`), Subject: fmt.Appendf(nil, "%d", i%5)[:i%2]})}
		case rng.IntN(20) == 0:
			if err := s.Delete(t.Context(), x.token); err != nil {
				t.Fatalf("Delete = error %v", err)
			}
			wantInvalid(t, fleet[0], x.token)
			*x = session{}
		case rng.IntN(3) == 0:
			x.n = step
			x.token = mustExchange(t, s, x.token, token.Patch{Meta: fmt.Appendf(nil, `{"n":%d}`, step)}, fmt.Sprintf(`{"n":%d}`, step))
		default:
			x.token = mustExchange(t, s, x.token, token.Patch{}, fmt.Sprintf(`{"n":%d}`, x.n))
		}
		if step%100 == 0 {
			if _, err := s.Exchange(t.Context(), newer, token.Patch{}, nil); !isUndone(err) {
				t.Fatalf("Exchange of a later version's session = error %v, want that nothing was carried out", err)
			}
		}
	}
	if got := raw(t, fleet[0], newer.ID); got != of {
		t.Errorf("a later version's session has become %q", got)
	}
}

// TestKeyIsChangedInAFleet: while a fleet is told to derive by another key, its servers exchange
// one session in any order, and replays are no theft.
func TestKeyIsChangedInAFleet(t *testing.T) {
	e := enginetest.Start(t)
	newKey := []byte("another key of 32 bytes, at the least")
	fleet := [2]*Store{}
	for i, secret := range []*token.Secret{token.NewSecretAfter(testKey, newKey), token.NewSecretAfter(newKey, testKey)} {
		engine := Engine{Hosts: []string{e.Address()}, Prefix: "changed:"}
		fleet[i] = open(t, Config{Engine: engine, Timeout: MaxTimeout, Grace: time.Minute, RevokeOnReuse: true, Secret: secret})
	}
	for _, order := range []string{"01010101", "10101010", "00110010", "11101001", "10000001"} {
		chain := []token.Token{mustCreate(t, fleet[0], token.NewSession{Meta: []byte(`{}`)})}
		for i, server := range order {
			chain = append(chain, mustExchange(t, fleet[server-'0'], chain[i], token.Patch{}, `{}`))
		}
		current := chain[len(order)]
		for i, s := range fleet {
			for n, spent := range chain[:len(order)] {
				patch := token.Patch{Meta: fmt.Appendf(nil, `{"n":%d}`, n)}
				x, err := s.Exchange(t.Context(), spent, patch, nil)
				if x.Token != current || !x.Reused || err != nil {
					t.Fatalf("servers %s: Exchange of token %d by server %d = the current token: %v, reused: %v, error %v, want true", order, n, i, x.Token == current, x.Reused, err)
				}
				if _, _, err := s.Validate(t.Context(), spent, nil); err != nil {
					t.Errorf("servers %s: Validate of token %d by server %d = error %v", order, n, i, err)
				}
			}
		}
		wantInvalid(t, fleet[0], chain[1].Next())
		wantInvalid(t, fleet[1], current) // that was reuse
	}
}
