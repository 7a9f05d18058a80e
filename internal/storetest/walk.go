package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"tokenserver/token"
)

// Each random walk has so many steps, and after some the store is checked.
const (
	walkSteps  = 2000
	checkEvery = 5
)

func (h Harness) testRandomWalks(t *testing.T) {
	walks := []struct {
		name string
		cfg  Config
	}{
		{"NoLimits", Config{Lifetime: time.Hour, MaxMeta: 64 << 10}},
		{"MaxMeta", Config{Lifetime: time.Hour, MaxMeta: 1024}},
		{"MaxSessions", Config{Lifetime: time.Hour, MaxSessions: 8, MaxMeta: 4 << 10}},
		{"MaxBytes", Config{Lifetime: time.Hour, MaxBytes: 64 << 10, MaxMeta: 8 << 10}},
		{"MaxLifetime", Config{Lifetime: time.Hour, MaxLifetime: 2 * time.Hour, MaxMeta: 4 << 10}},
		{"Grace", Config{Lifetime: time.Hour, Grace: time.Minute, MaxMeta: 1024}},
		{"Revoke", Config{Lifetime: time.Hour, Grace: time.Minute, RevokeOnReuse: true, MaxMeta: 1024}},
		{"AllPolicies", Config{
			Lifetime: 5 * time.Minute, Grace: time.Minute, RevokeOnReuse: true, MaxLifetime: 12 * time.Minute,
			MaxSessions: 30, MaxBytes: 64 << 10, MaxMeta: 8 << 10,
		}},
	}
	for _, w := range walks {
		if h.Unlimited && w.cfg.MaxSessions > 0 || h.Cost == nil && w.cfg.MaxBytes > 0 {
			continue
		}
		t.Run(w.name, func(t *testing.T) { h.testRandomWalk(t, w.cfg) })
	}
}

func (h Harness) testRandomWalk(t *testing.T, cfg Config) {
	if h.realTime() {
		cfg.Grace *= 60 // no window ends by itself, however slow the machine is
	}
	seed := Seed(t)
	cryptotest.SetGlobalRandom(t, seed) // so that the same seed makes the same tokens
	h.inBubble(t, func(t *testing.T) {
		w := walk{
			tester: h.open(t, cfg),
			rng:    NewRand(seed),
			model:  model{cfg: cfg, cost: h.Cost},
		}
		for n := range h.rounds(walkSteps) {
			if w.step(); n%checkEvery == 0 {
				h.check(t, w.store)
			}
		}
		w.settle()
	})
}

// walk does at random what callers do, and compares each answer to the model's.
type walk struct {
	*tester
	rng   *rand.Rand
	model model
}

func (w *walk) step() {
	w.model.expire(time.Now())
	switch n := w.rng.IntN(100); {
	case n < 23:
		w.create()
	case n < 57:
		w.exchange(w.token())
	case n < 67:
		w.validate(w.token())
	case n < 73:
		w.delete(w.token())
	case n < 76:
		w.list()
	case n < 79:
		w.purge()
	case n < 80:
		w.endSubject()
	case n < 81:
		w.endOthers(w.token())
	case n < 82:
		w.endSession(w.token())
	case n < 84:
		w.listSubject()
	case n < 92:
		w.exchangeOn()
	default:
		w.sleep()
	}
}

// settle ends a walk: every session is there, and can be exchanged.
func (w *walk) settle() {
	w.model.expire(time.Now())
	w.list()
	for _, s := range slices.Clone(w.model.live) {
		w.validate(s.current)
		w.tester.exchange(s.current, "", s.meta.String())
	}
}

// token returns a token: mostly a current one, but also unknown, wrong, spent
// and ended ones.
func (w *walk) token() token.Token {
	n := w.rng.IntN(100)
	if len(w.model.live) == 0 || n < 3 {
		return token.Generate()
	}
	s := w.session()
	switch {
	case n < 5:
		return s.current.Next()
	case n < 30 && len(s.spent) > 0:
		return w.spent(s).token
	case n < 40 && len(w.model.gone) > 0:
		return pick(w.rng, w.model.gone)
	}
	return s.current
}

// session returns a session, more often than not one of a few that are thus
// exchanged again and again.
func (w *walk) session() *session {
	if w.rng.IntN(3) > 0 {
		return pick(w.rng, w.model.live[:min(3, len(w.model.live))])
	}
	return pick(w.rng, w.model.live)
}

// spent returns a spent token of a session that has one, mostly of the last.
func (w *walk) spent(s *session) spentToken {
	if w.rng.IntN(4) > 0 {
		return pick(w.rng, s.spent[max(0, len(s.spent)-token.GraceDepth-1):])
	}
	return pick(w.rng, s.spent)
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func (w *walk) create() {
	n := token.NewSession{Meta: []byte(w.object()), Subject: []byte(w.subject())}
	if w.rng.IntN(4) == 0 {
		n.Lifetime = w.model.cfg.Lifetime/2 + time.Duration(w.rng.Int64N(int64(w.model.cfg.Lifetime)))
	}
	s, wantErr := w.model.newSession(n)
	got, err := w.store.Create(w.Context(), n)
	if !isError(err, wantErr) {
		w.Fatalf("Create(%.200q) = error %v, want %v", n.Meta, err, wantErr)
	}
	if err == nil {
		s.current = got
		w.model.live = append(w.model.live, s)
	}
}

// isError says whether a store's error is what the model wants.
func isError(err, want error) bool {
	if want == errMayBeFull {
		return err == nil || errors.Is(err, token.ErrFull)
	}
	return errors.Is(err, want)
}

// subject returns one of a few names, or none.
func (w *walk) subject() string {
	return pick(w.rng, []string{"", "", "", "ada", "ada", "bob", "carol"})
}

func (w *walk) exchange(t token.Token) {
	patch := ""
	if w.rng.IntN(2) == 0 {
		patch = w.object()
	}
	if w.rng.IntN(5) == 0 {
		patch += w.unset()
	}
	s, worth, want, wantErr := w.model.exchange(t, patchOf(patch))
	got, err := w.store.Exchange(w.Context(), t, patchOf(patch), nil)
	if !isError(err, wantErr) {
		w.Fatalf("Exchange(patch %.200q) = error %v, want %v", patch, err, wantErr)
	}
	if err != nil {
		return
	}
	if got, want := string(got.Meta), want.String(); got != want {
		w.Fatalf("Exchange(patch %.200q) = %.200q, want %.200q", patch, got, want)
	}
	if got.Reused != (worth == inGrace) {
		w.Fatalf("Exchange = reused: %v, want %v", got.Reused, worth == inGrace)
	}
	s.meta = want
	if worth == inGrace {
		if got.Token != s.current {
			w.Fatal("Exchange of a spent token in its grace returned another token than the current one")
		}
		return
	}
	if got.Token.ID != t.ID || got.Token == t || s.hasSpent(got.Token) {
		w.Fatal("Exchange returned a token of another session, or an old one")
	}
	s.spend(got.Token)
}

// exchangeOn exchanges a session's tokens one after the other, and may then
// present the spent ones.
func (w *walk) exchangeOn() {
	if len(w.model.live) == 0 {
		return
	}
	s := w.session()
	for range w.rng.IntN(token.GraceDepth + 4) {
		w.exchange(s.current)
	}
	if w.rng.IntN(2) == 0 {
		w.reuse(s)
	}
}

// reuse presents a session's last spent tokens, the older ones first, and may
// do it again at the end of the window of one.
func (w *walk) reuse(s *session) {
	grace := w.model.cfg.Grace
	if grace != 0 && w.rng.IntN(2) == 0 {
		w.sleepUntil(time.Now().Add(time.Duration(w.rng.Int64N(int64(grace)))))
		w.model.expire(time.Now())
	}
	n := token.GraceDepth + 1
	if w.rng.IntN(2) == 0 {
		n = w.rng.IntN(token.GraceDepth)
	}
	last := s.spent[max(0, len(s.spent)-n):]
	w.presentAll(last)
	if len(last) > 0 && w.rng.IntN(2) == 0 {
		w.sleepUntil(pick(w.rng, last).at.Add(grace - time.Duration(w.rng.IntN(2))))
		w.model.expire(time.Now())
		w.presentAll(last)
	}
}

func (w *walk) presentAll(tokens []spentToken) {
	for _, spent := range tokens {
		switch n := w.rng.IntN(30); {
		case n < 10:
			w.exchange(spent.token)
		case n < 29:
			w.validate(spent.token)
		default:
			w.delete(spent.token)
		}
	}
}

// sleepUntil sleeps, if the store's clock is that of the model.
func (w *walk) sleepUntil(moment time.Time) {
	if !w.realTime() {
		time.Sleep(time.Until(moment))
	}
}

func (s *session) hasSpent(t token.Token) bool {
	return slices.ContainsFunc(s.spent, func(spent spentToken) bool { return spent.token == t })
}

func (w *walk) validate(t token.Token) {
	meta, expires, err := w.store.Validate(w.Context(), t, nil)
	s, worth := w.model.present(t)
	if worth == unknown || worth == late {
		if !errors.Is(err, token.ErrInvalid) {
			w.Fatalf("Validate = %.200q, error %v, want %v", meta, err, token.ErrInvalid)
		}
		return
	}
	if got, want := string(meta), s.meta.String(); err != nil || got != want {
		w.Fatalf("Validate = %.200q, error %v, want %.200q", got, err, want)
	}
	w.expiresIn(expires, time.Until(s.expires))
}

func (w *walk) delete(t token.Token) {
	w.tester.delete(t)
	w.model.delete(t)
}

func (w *walk) endSubject() {
	name := w.subject()
	want := 0
	if name != "" {
		want = w.model.endWhere(func(s *session) bool { return s.subject == name })
	}
	w.tester.endSubject(name, want)
}

// endOthers keeps a session mostly of the subject whose sessions are ended.
func (w *walk) endOthers(keep token.Token) {
	name := w.subject()
	if s, _ := w.model.present(keep); s != nil && w.rng.IntN(4) > 0 {
		name = s.subject
	}
	want, wantErr := w.model.endOthers(name, keep)
	got, err := w.store.EndOthers(w.Context(), []byte(name), keep)
	if got != want || !errors.Is(err, wantErr) {
		w.Fatalf("EndOthers(%q) = %d, error %v, want %d, %v", name, got, err, want, wantErr)
	}
}

func (w *walk) endSession(t token.Token) {
	name := w.subject()
	if s, _ := w.model.present(t); s != nil && w.rng.IntN(4) > 0 {
		name = s.subject
	}
	w.tester.endSession(name, t.ID.Name(), w.model.endSession(name, t.ID.Name()))
}

// listSubject lists a subject's sessions. Those created at the same time may
// come in any order.
func (w *walk) listSubject() {
	name, limit := pick(w.rng, []string{"ada", "bob", "carol"}), 1+w.rng.IntN(10)
	if w.rng.IntN(2) == 0 {
		limit = 1000
	}
	all := w.model.ofSubject(name)
	w.listPage(name, limit, all)
	if w.rng.IntN(2) == 0 {
		w.listAfter(name, all)
	}
}

// listAfter lists what comes after one of a subject's sessions, or after none of them.
func (w *walk) listAfter(name string, all []*session) {
	page := token.Page{Limit: 1000, After: w.token().ID.Name()}
	at := slices.IndexFunc(all, func(s *session) bool { return s.current.ID.Name() == page.After })
	if at < 0 && len(all) > 0 && w.rng.IntN(4) > 0 {
		at = w.rng.IntN(len(all))
		page.After = all[at].current.ID.Name()
	}
	got, more, err := w.store.SubjectSessions(w.Context(), []byte(name), page)
	if at < 0 {
		if !errors.Is(err, token.ErrUnknownSession) {
			w.Fatalf("SubjectSessions(after an unknown one) = %d sessions, error %v, want %v", len(got), err, token.ErrUnknownSession)
		}
		return
	}
	if more || err != nil {
		w.Fatalf("SubjectSessions(after session %d) = more: %v, error %v, want false", at, more, err)
	}
	// Which of those created at the same time come after it is not said.
	live := make(map[token.SessionName]time.Time)
	older := 0
	for _, s := range all {
		live[s.current.ID.Name()] = s.created
		if s.created.Before(all[at].created) {
			older++
		}
	}
	for _, s := range got {
		created, ok := live[s.Name]
		if !ok || s.Name == page.After || created.After(all[at].created) {
			w.Fatalf("SubjectSessions(after session %d): %v does not come after it", at, s.Name)
		}
		if delete(live, s.Name); created.Before(all[at].created) {
			older--
		}
	}
	if older != 0 && !w.realTime() {
		w.Fatalf("SubjectSessions(after session %d) = %d sessions, %d are missing", at, len(got), older)
	}
}

// listPage lists the first page of a subject's sessions, of which all are given.
func (w *walk) listPage(name string, limit int, all []*session) {
	got, more, err := w.store.SubjectSessions(w.Context(), []byte(name), token.Page{Limit: limit})
	if want := min(limit, len(all)); len(got) != want || more != (len(all) > limit) || err != nil {
		w.Fatalf("SubjectSessions(limit %d) = %d sessions, more: %v, error %v, want %d, %v",
			limit, len(got), more, err, want, len(all) > limit)
	}
	want := make(map[string]int)
	for _, s := range all {
		want[w.describeCreated(s.current.ID.Name(), s.created, s.expires, s.meta.String())]++
	}
	for i, s := range got {
		described := w.describeCreated(s.Name, s.Created, s.Expires, string(s.Meta))
		if want[described]--; want[described] < 0 {
			w.Fatalf("SubjectSessions: session %d is %.200q, which is not the subject's", i, described)
		}
		if !w.realTime() && !s.Created.Equal(all[i].created) {
			w.Fatalf("SubjectSessions: session %d was created at %v, want %v", i, s.Created, all[i].created)
		}
	}
}

func (w *walk) describeCreated(name token.SessionName, created, expires time.Time, meta string) string {
	if w.realTime() {
		return fmt.Sprintf("%v %s", name, meta)
	}
	return fmt.Sprintf("%v %d %s", name, created.UnixNano(), w.describe(expires, meta))
}

func (w *walk) list() {
	var want []string
	for _, s := range w.model.live {
		want = append(want, w.describe(s.expires, s.meta.String()))
	}
	var got []string
	for _, l := range w.tester.list() {
		got = append(got, w.describe(l.expires, l.meta))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Fatalf("Sessions = %d sessions %.300q, want %d %.300q", len(got), got, len(want), want)
	}
}

// describe leaves the expiry out if the store's clock is not that of the model.
func (w *walk) describe(expires time.Time, meta string) string {
	if w.realTime() {
		return meta
	}
	return fmt.Sprintf("%d %s", expires.UnixNano(), meta)
}

// purge purges a store that can, after which nothing is left to be purged.
func (w *walk) purge() {
	p, ok := w.store.(interface{ Purge() int })
	if !ok {
		return
	}
	p.Purge()
	if again := p.Purge(); again != 0 {
		w.Fatalf("Purge, called again at once, = %d, want 0", again)
	}
}

// sleep lets some time pass, or goes to the end of a session's life or of a
// spent token's window, or to a nanosecond before it.
func (w *walk) sleep() {
	scale := w.model.cfg.Lifetime / 10
	if w.model.cfg.Grace != 0 && w.rng.IntN(4) > 0 {
		scale = w.model.cfg.Grace / 4
	}
	moment := time.Now().Add(time.Duration(w.rng.Int64N(int64(scale))))
	if n := w.rng.IntN(3); n < 2 && len(w.model.live) > 0 {
		moment = w.end(w.session()).Add(-time.Duration(n))
	}
	w.sleepUntil(moment)
}

// end returns when a session ends, or the window of one of its tokens.
func (w *walk) end(s *session) time.Time {
	if w.model.cfg.Grace != 0 && len(s.spent) > 0 && w.rng.IntN(10) > 0 {
		return w.spent(s).at.Add(w.model.cfg.Grace)
	}
	return s.expires
}
