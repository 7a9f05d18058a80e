package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tokenserver/token"
)

// endSession ends a subject's session by its name, of which want have to live.
func (t *tester) endSession(subject string, name token.SessionName, want int) {
	t.Helper()
	got, err := t.store.EndSession(t.Context(), []byte(subject), name)
	if got != want || err != nil {
		t.Fatalf("EndSession(%.50q, %v) = %d, error %v, want %d", subject, name, got, err, want)
	}
}

// endOthers ends a subject's sessions but one, of which want have to live.
func (t *tester) endOthers(subject string, keep token.Token, want int) {
	t.Helper()
	got, err := t.store.EndOthers(t.Context(), []byte(subject), keep)
	if got != want || err != nil {
		t.Fatalf("EndOthers(%.50q) = %d, error %v, want %d", subject, got, err, want)
	}
}

// endOthersError expects that a token is none that a subject's session could be kept by.
func (t *tester) endOthersError(subject string, keep token.Token) {
	t.Helper()
	got, err := t.store.EndOthers(t.Context(), []byte(subject), keep)
	if got != 0 || !errors.Is(err, token.ErrInvalid) {
		t.Fatalf("EndOthers(%.50q, an invalid token) = %d, error %v, want 0, %v", subject, got, err, token.ErrInvalid)
	}
}

func testEndSession(t *tester) {
	lifetime, _, _ := t.phases()
	ada, adas := t.createManyFor("ada", 5)
	bob, bobs := t.createManyFor("bob", 1)
	t.endSession("ada", token.Generate().ID.Name(), 0)
	t.endSession("ada", bob[0].ID.Name(), 0)
	t.endSession("carol", bob[0].ID.Name(), 0)
	ada[2] = t.exchange(ada[2], "", adas[2])
	for i, n := range []int{2, 4, 0} { // in the middle, the newest, the oldest
		name := ada[n].ID.Name()
		t.endSession("bob", name, 0)
		t.endSession("ada", name, 1)
		t.endSession("ada", name, 0)
		t.invalid(ada[n])
		if got := len(t.list()); got != 5-i {
			t.Fatalf("%d sessions are left, want %d", got, 5-i)
		}
	}
	t.subjectSessions("ada", 10, false, adas[3], adas[1])
	t.subjectSessions("bob", 10, false, bobs[0])
	t.exchange(ada[1], "", adas[1])
	t.sleepUntil(t.now().Add(lifetime))
	t.endSession("ada", ada[3].ID.Name(), 0)
	t.endSession("bob", bob[0].ID.Name(), 0)
}

// testEndSessionOfMany has more sessions than are looked at in a single step.
func testEndSessionOfMany(t *tester) {
	const n = 1500
	var tokens []token.Token
	for i := range n {
		tokens = append(tokens, t.createFor("ada", fmt.Sprintf(`{"n":%d}`, i)))
	}
	left := n
	for _, i := range []int{0, 1, n / 2, n - 1, n - 2, 31, 32, 33} {
		t.endSession("ada", tokens[i].ID.Name(), 1)
		t.invalid(tokens[i])
		left--
	}
	t.endSubject("ada", left)
}

func testEndSessionOfNobody(t *tester) {
	tok := t.create(`{"a":1}`)
	t.endSession("", tok.ID.Name(), 0)
	t.endOthersError("", tok)
	t.exchange(tok, "", `{"a":1}`)
}

// testEndOthers keeps the oldest, the newest and one in the middle.
func testEndOthers(t *tester) {
	for _, keep := range []int{0, 2, 4} {
		ada, adas := t.createManyFor("ada", 5)
		bob, bobs := t.createManyFor("bob", 2)
		for range 2 {
			ada[keep] = t.exchange(ada[keep], "", adas[keep])
		}
		t.endOthers("ada", ada[keep], 4)
		for i, tok := range ada {
			if i != keep {
				t.invalid(tok)
			}
		}
		t.endOthers("ada", ada[keep], 0)
		t.subjectSessions("ada", 10, false, adas[keep])
		t.subjectSessions("bob", 10, false, bobs[1], bobs[0])

		// The subject goes on.
		t.createFor("ada", `{"new":1}`)
		t.subjectSessions("ada", 10, false, `{"new":1}`, adas[keep])
		t.endOthers("ada", ada[keep], 1)
		t.exchange(ada[keep], "", adas[keep])
		t.endSubject("ada", 1)
		t.endOthers("bob", bob[1], 1)
		t.endSubject("bob", 1)
		t.wantListed(nil)
	}
}

// testEndOthersRefused has tokens by which nothing is kept, and nothing ends.
func testEndOthersRefused(t *tester) {
	lifetime, _, _ := t.phases()
	_, metas := t.createManyFor("ada", 3)
	bob, nobodys := t.createFor("bob", `{"b":1}`), t.create(`{"c":1}`)
	spent := t.createFor("ada", `{"s":1}`)
	current := t.exchange(spent, "", `{"s":1}`)
	deleted := t.createFor("ada", `{"d":1}`)
	t.delete(deleted)
	all := []string{`{"s":1}`, metas[2], metas[1], metas[0]}
	for _, invalid := range []token.Token{bob, nobodys, spent, deleted, token.Generate(), {}, current.Next(), {ID: current.ID}} {
		t.endOthersError("ada", invalid)
		t.subjectSessions("ada", 10, false, all...)
	}
	t.endOthersError("carol", current)
	t.live(current, `{"s":1}`)
	t.live(bob, `{"b":1}`)
	longer := t.createNew(token.NewSession{Subject: []byte("ada"), Meta: []byte(`{"longer":1}`), Lifetime: 4 * lifetime})
	t.sleepUntil(t.now().Add(lifetime))
	t.endOthersError("ada", current)
	t.endOthers("ada", longer, 0)
	t.live(longer, `{"longer":1}`)
}

// testEndOthersInGrace keeps a session by a spent token in its grace. One that is out
// of it revokes nothing.
func testEndOthersInGrace(t *tester) {
	_, metas := t.createManyFor("ada", 2)
	chain := t.exchangeTimes(token.GraceDepth+1, t.createFor("ada", `{"kept":1}`), `{"kept":1}`)
	current := chain[len(chain)-1]
	for _, late := range []token.Token{chain[0], current.Next()} {
		t.endOthersError("ada", late)
		t.subjectSessions("ada", 10, false, `{"kept":1}`, metas[1], metas[0])
	}
	t.endOthers("ada", chain[1], 2)
	t.live(current, `{"kept":1}`)
	t.createFor("ada", `{"new":1}`)
	t.endOthers("ada", chain[len(chain)-2], 1)
	t.replay(chain[len(chain)-2], current, "", `{"kept":1}`)
	t.exchange(current, "", `{"kept":1}`)
}

// testEndOthersMany has more sessions than end in a single step, on both sides of the
// one that is kept.
func testEndOthersMany(t *tester) {
	const n = 300
	var tokens []token.Token
	for range n {
		tokens = append(tokens, t.createFor("ada", `{"a":1}`))
	}
	t.endOthers("ada", tokens[n/3], n-1)
	t.exchange(tokens[n/3], "", `{"a":1}`)
	t.endSubject("ada", 1)
}

// testEndOthersRacesExchanges ends sessions that are being exchanged all the time, and
// so is the one that is kept.
func testEndOthersRacesExchanges(t *tester) {
	const rounds, sessions = 50, 4
	for round := range t.rounds(rounds) {
		tokens, _ := t.createManyFor("ada", sessions)
		kept := round % sessions
		var current atomic.Value // of the session that is kept
		var exchanged atomic.Int64
		var ended atomic.Bool
		current.Store(tokens[kept])
		atOnce(sessions+1, func(i int) {
			if i == sessions {
				for exchanged.Load() < 2*sessions {
					time.Sleep(time.Microsecond) // lets a fake clock go on, too
				}
				t.endOthersUntilKept(&current, sessions-1)
				ended.Store(true)
				return
			}
			for !ended.Load() {
				tokens[i] = t.exchangeIfLive(tokens[i])
				if exchanged.Add(1); i == kept {
					current.Store(tokens[i])
				}
				time.Sleep(time.Microsecond)
			}
		})
		t.endOthers("ada", tokens[kept], 0)
		tokens[kept] = t.exchange(tokens[kept], "", fmt.Sprintf(`{"ada":%d}`, kept))
		for i, tok := range tokens {
			if i != kept {
				t.invalid(tok)
			}
		}
		t.endSubject("ada", 1)
	}
	t.check(t.T, t.store)
}

// endOthersUntilKept ends a subject's sessions but one, again and again until its token
// is not spent meanwhile.
func (t *tester) endOthersUntilKept(current *atomic.Value, want int) {
	for {
		got, err := t.store.EndOthers(t.Context(), []byte("ada"), current.Load().(token.Token))
		if errors.Is(err, token.ErrInvalid) {
			continue
		}
		if got != want || err != nil {
			t.Errorf("EndOthers = %d, error %v, want %d", got, err, want)
		}
		return
	}
}

// testEndOthersRacesCreates ends a subject's sessions but one while more are created:
// what had been created before the call has ended after it, and what is created after
// it lives.
func testEndOthersRacesCreates(t *tester) {
	for range t.rounds(raceRounds) {
		keep := t.createFor("ada", `{"keep":1}`)
		t.raceCreates(func() {
			if _, err := t.store.EndOthers(t.Context(), []byte("ada"), keep); err != nil {
				t.Errorf("EndOthers = error %v", err)
			}
		})
		t.endOthers("ada", keep, len(t.list())-1)
		t.exchange(keep, "", `{"keep":1}`)
		t.endSubject("ada", 1)
		t.wantListed(nil)
	}
	t.check(t.T, t.store)
}
