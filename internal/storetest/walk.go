package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"tokenserver/token"
)

// walkSteps is how many steps each random walk has.
const walkSteps = 3000

func (h Harness) testRandomWalks(t *testing.T) {
	walks := []struct {
		name string
		cfg  Config
	}{
		{"NoLimits", Config{Lifetime: time.Hour, MaxMeta: 64 << 10}},
		{"MaxMeta", Config{Lifetime: time.Hour, MaxMeta: 1024}},
		{"MaxSessions", Config{Lifetime: time.Hour, MaxSessions: 8, MaxMeta: 4 << 10}},
		{"MaxBytes", Config{Lifetime: time.Hour, MaxBytes: 32 << 10, MaxMeta: 8 << 10}},
	}
	for _, w := range walks {
		if h.Unlimited && w.cfg.MaxSessions > 0 || h.Cost == nil && w.cfg.MaxBytes > 0 {
			continue
		}
		t.Run(w.name, func(t *testing.T) { h.testRandomWalk(t, w.cfg) })
	}
}

func (h Harness) testRandomWalk(t *testing.T, cfg Config) {
	seed := Seed(t)
	cryptotest.SetGlobalRandom(t, seed) // so that the same seed makes the same tokens
	h.inBubble(t, func(t *testing.T) {
		w := walk{
			tester: h.open(t, cfg),
			rng:    NewRand(seed),
			model:  model{cfg: cfg, cost: h.Cost},
		}
		for range walkSteps {
			w.step()
			h.check(t, w.store)
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
	case n < 25:
		w.create()
	case n < 60:
		w.exchange(w.token())
	case n < 70:
		w.validate(w.token())
	case n < 76:
		w.delete(w.token())
	case n < 79:
		w.list()
	case n < 82:
		w.purge()
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
	s := pick(w.rng, w.model.live)
	switch {
	case n < 6:
		return s.current.Next()
	case n < 20 && len(s.spent) > 0:
		return pick(w.rng, s.spent)
	case n < 30 && len(w.model.gone) > 0:
		return pick(w.rng, w.model.gone)
	}
	return s.current
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func (w *walk) create() {
	text := w.object()
	want, wantErr := w.model.create(parseObject(text))
	got, err := w.store.Create(w.Context(), token.New{Meta: []byte(text)})
	if !errors.Is(err, wantErr) {
		w.Fatalf("Create(%.200q) = error %v, want %v", text, err, wantErr)
	}
	if err == nil {
		expires := time.Now().Add(w.model.cfg.Lifetime)
		w.model.live = append(w.model.live, &session{current: got, meta: want, expires: expires})
	}
}

func (w *walk) exchange(t token.Token) {
	patch := ""
	if w.rng.IntN(2) == 0 {
		patch = w.object()
	}
	s, want, wantErr := w.model.exchange(t, parsePatch(patch))
	got, err := w.store.Exchange(w.Context(), t, patchBytes(patch), nil)
	if !errors.Is(err, wantErr) {
		w.Fatalf("Exchange(patch %.200q) = error %v, want %v", patch, err, wantErr)
	}
	if err != nil {
		return
	}
	if got, want := string(got.Meta), want.String(); got != want {
		w.Fatalf("Exchange(patch %.200q) = %.200q, want %.200q", patch, got, want)
	}
	if got.Token.ID != t.ID || got.Token == t || slices.Contains(s.spent, got.Token) {
		w.Fatal("Exchange returned a token of another session, or an old one")
	}
	s.spent = append(s.spent, t)
	s.current, s.meta, s.expires = got.Token, want, time.Now().Add(w.model.cfg.Lifetime)
}

func (w *walk) validate(t token.Token) {
	meta, expires, err := w.store.Validate(w.Context(), t, nil)
	s := w.model.find(t)
	if s == nil {
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
	if w.RealTime {
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

// sleep lets some time pass, or goes to the end of a session's life or to a
// nanosecond before it.
func (w *walk) sleep() {
	d := time.Duration(w.rng.Int64N(int64(w.model.cfg.Lifetime) / 10))
	if n := w.rng.IntN(3); n < 2 && len(w.model.live) > 0 {
		d = max(0, time.Until(pick(w.rng, w.model.live[:min(3, len(w.model.live))]).expires)-time.Duration(n))
	}
	if !w.RealTime {
		time.Sleep(d)
	}
}

// names are member names, some of them the same but for their spelling.
var names = []string{
	`""`, `"a"`, `"\u0061"`, `"b"`, `"a\"b"`, `"a\u0022b"`, `"\\"`, `"\u005C"`, `"/"`, `"\/"`, `"é"`, `"\u00e9"`,
	`"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"\u0000"`, `"\n"`, `"\u000a"`, `"meta"`, `"a:b,c}"`, `"{"`, `"]"`,
}

// values are values that must come back to the byte.
var values = []string{
	`null`, `true`, `false`, `0`, `-0`, `1.0`, `1e999`, `-12.50E-07`, `123456789012345678901234567890`,
	`""`, `"é"`, `"\u00e9"`, `"\ud83d\ude00"`, `"a\/b"`, `"\"}"`, `"\\"`, `{}`, `[]`, `[[],{},""]`,
	`{"a":{"a":1,"a":2},"":[1,{"b":"]"}]}`, `[1,"two",3.0,null,true]`,
}

// object returns a compact object: mostly a small one, sometimes one of
// hundreds of members or with many bytes, now and then with a name twice.
func (w *walk) object() string {
	n := w.rng.IntN(6)
	if w.rng.IntN(20) == 0 {
		n = w.rng.IntN(200)
	}
	members := make([]string, n)
	for i := range members {
		members[i] = w.name() + ":" + w.value()
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (w *walk) name() string {
	if w.rng.IntN(2) == 0 {
		return pick(w.rng, names)
	}
	return fmt.Sprintf(`"k%d"`, w.rng.IntN(50))
}

func (w *walk) value() string {
	switch n := w.rng.IntN(100); {
	case n < 60:
		return pick(w.rng, values)
	case n < 98:
		return `"` + strings.Repeat("v", w.rng.IntN(1<<w.rng.IntN(9))) + `"`
	}
	return `"` + strings.Repeat("w", w.rng.IntN(1<<w.rng.IntN(17))) + `"`
}
