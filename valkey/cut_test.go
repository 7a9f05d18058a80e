package valkey

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/faultproxy"
	"tokenserver/token"
)

// TestCutAtEveryByte: wherever a connection is cut in a request or its reply, the request
// succeeds over the next one, and is carried out once.
func TestCutAtEveryByte(t *testing.T) {
	step := int64(16) // it takes a minute and a half
	if *realTime {
		step = 1
	}
	e := enginetest.Start(t)
	for _, grace := range []time.Duration{0, time.Minute} {
		for _, d := range []faultproxy.Direction{faultproxy.Requests, faultproxy.Answers} {
			proxy := faultproxy.Start(t, e.Address())
			s := open(t, Config{Timeout: MaxTimeout, Grace: grace}, proxy.Address)
			for name, call := range cutCalls(s, grace) {
				t.Run(fmt.Sprintf("%s, grace %v, direction %d", name, grace, d), func(t *testing.T) {
					for at := rand.Int64N(step); at < maxCut; at += step {
						before := proxy.Cuts()
						proxy.CutAfter(d, at)
						call(t)
						proxy.Mend()
						if t.Failed() || proxy.Cuts() == before {
							t.Logf("%d bytes", at)
							return
						}
					}
				})
			}
			if n := s.counters.replayed.Load(); n > 0 {
				t.Errorf("%d of our own retries were taken for replays", n)
			}
		}
	}
}

// maxCut is more bytes than any of the calls takes.
const maxCut = 2000

// cutCalls returns calls that are carried out once, even if the first try got no answer.
func cutCalls(s *Store, grace time.Duration) map[string]func(t *testing.T) {
	const meta = `{"n":0}`
	var current, patched token.Token
	n := 0
	create := func(t *testing.T) token.Token {
		return mustCreate(t, s, token.NewSession{Meta: []byte(meta), Subject: []byte("ada")})
	}
	return map[string]func(t *testing.T){
		"exchange": func(t *testing.T) {
			if current == (token.Token{}) {
				current = create(t)
			}
			spent := current
			current = mustExchange(t, s, current, token.Patch{}, meta)
			if grace == 0 {
				wantInvalid(t, s, spent)
			}
		},
		"patch": func(t *testing.T) {
			if patched == (token.Token{}) {
				patched = create(t)
			}
			n++
			patched = mustExchange(t, s, patched, token.Patch{Meta: fmt.Appendf(nil, `{"n":%d}`, n)}, fmt.Sprintf(`{"n":%d}`, n))
		},
		"create": func(t *testing.T) {
			if err := s.Delete(t.Context(), create(t)); err != nil {
				t.Errorf("Delete = error %v", err)
			}
		},
		"batch": func(t *testing.T) {
			b := token.Batch{Items: []token.BatchItem{{Op: token.OpCreate, Meta: []byte(meta)}, {Op: token.OpCreate, Meta: []byte(meta)}}}
			if err := s.Batch(t.Context(), &b); err != nil {
				t.Fatalf("Batch = error %v", err)
			}
			next := token.Batch{Items: []token.BatchItem{{Op: token.OpExchange, Token: b.Items[0].Token}, {Op: token.OpValidate, Token: b.Items[1].Token}}}
			if err := s.Batch(t.Context(), &next); err != nil || string(next.Buf) != meta+meta {
				t.Errorf("Batch = %s, error %v, want %s", next.Buf, err, meta+meta)
			}
		},
		"subject": func(t *testing.T) {
			name := token.Generate().ID
			mustCreate(t, s, token.NewSession{Meta: []byte(meta), Subject: name[:]})
			if list, _, err := s.SubjectSessions(t.Context(), name[:], token.Page{Limit: 10}); len(list) != 1 || err != nil {
				t.Errorf("SubjectSessions = %d, error %v, want 1", len(list), err)
			}
			if _, err := s.EndSubject(t.Context(), name[:]); err != nil {
				t.Errorf("EndSubject = error %v", err)
			}
			if list, _, err := s.SubjectSessions(t.Context(), name[:], token.Page{Limit: 10}); len(list) != 0 || err != nil {
				t.Errorf("SubjectSessions after EndSubject = %d, error %v, want none", len(list), err)
			}
		},
	}
}
