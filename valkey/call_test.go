package valkey

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// replyOf returns what a client gets if a script says something.
func replyOf(t testing.TB, s *Store, says string, args ...string) rueidis.RedisResult {
	t.Helper()
	return s.client().Do(t.Context(), s.client().B().Eval().Script("return "+says).Numkeys(0).Arg(args...).Build())
}

// shortCall returns a call that has no time for another try.
func shortCall(t testing.TB, s *Store) call {
	t.Helper()
	c := s.newCall()
	ctx, cancel := context.WithTimeout(t.Context(), s.timeout/20)
	t.Cleanup(cancel)
	c.ctx = ctx
	return c
}

// acceptOne has an operation take a reply to its first step, or to the try after one of which
// nothing is known. It says whether that ends it.
func acceptOne(t testing.TB, s *Store, op operation, repeated bool, result rueidis.RedisResult) (r *running, complete bool) {
	t.Helper()
	c := shortCall(t, s)
	r = &running{operation: op, reached: repeated, late: true}
	r.command(&c)
	r.bulkhead = s.bulkheads.of(r.current.keys[0])
	return r, r.accept(&c, result)
}

// TestAnswersToASecondTry: what a try meets says nothing about an earlier one that got no reply. It
// may have been carried out.
func TestAnswersToASecondTry(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: time.Second, MaxMeta: 1024}, e.Address())
	tok := token.Generate()
	digest := tok.Digest()
	value := string(digest[:]) + `{"a":"` + fmt.Sprintf("%01020d", 1) + `"}`
	now := strconv.FormatInt(s.clock.now(), 10)
	exchange := func() (operation, func() error) {
		x := s.newExchange(tok, token.Patch{Meta: []byte(`{"b":1}`)})
		return x, func() error { return x.err }
	}
	create := func() (operation, func() error) {
		c, err := s.newCreate(token.NewSession{Meta: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		return c, func() error { return c.err }
	}
	remove := func() (operation, func() error) {
		d := s.newRemoval(tok)
		return d, func() error { return d.err }
	}
	says := func(text string) string { return "redis.error_reply(" + strconv.Quote(text) + ")" }
	all := []func() (operation, func() error){exchange, create, remove}
	tests := []struct {
		name, says string
		want       error // of a first try; nil for one that says that nothing was carried out
		operations []func() (operation, func() error)
	}{
		{"full", says("OOM command not allowed when used memory > 'maxmemory'."), token.ErrFull, all},
		{"too large", fmt.Sprintf("{%d, tonumber(ARGV[1]), ARGV[2]}", codeMerge), token.ErrMetaTooLarge, all[:1]},
		{"late", fmt.Sprintf("{%d, tonumber(ARGV[1])}", codeLate), nil, all},
		{"no permission", says("NOPERM User app has no permissions"), nil, all},
		{"replica", says("READONLY You can't write against a read only replica."), nil, all},
		{"loading", says("LOADING Redis is loading the dataset in memory"), nil, all},
		{"cluster down", says("CLUSTERDOWN Hash slot not served"), nil, all},
		{"wrong type", says("WRONGTYPE Operation against a key holding the wrong kind of value"), nil, all},
	}
	for _, test := range tests {
		for i, operation := range test.operations {
			for _, repeated := range []bool{false, true} {
				op, outcome := operation()
				r, complete := acceptOne(t, s, op, repeated, replyOf(t, s, test.says, now, value))
				if !complete {
					r.end(unavailable(errLate, r.reached)) // as when there is no time left
				}
				err := outcome()
				switch {
				case repeated && (err == nil || isAnswer(err) || isUndone(err)):
					t.Errorf("%s, operation %d: a second try = error %v, want that the outcome is unknown", test.name, i, err)
				case !repeated && test.want != nil && !errors.Is(err, test.want):
					t.Errorf("%s, operation %d: a first try = error %v, want %v", test.name, i, err, test.want)
				case !repeated && test.want == nil && !isUndone(err):
					t.Errorf("%s, operation %d: a first try = error %v, want that nothing was carried out", test.name, i, err)
				}
			}
		}
	}
}

// TestStepsAfterASecondTry: what is unknown of a try stays so, also if a later step of the same
// operation was certainly not carried out.
func TestStepsAfterASecondTry(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: time.Second}, e.Address())
	tok := token.Generate()
	digest := tok.Digest()
	x := s.newExchange(tok, token.Patch{Meta: []byte(`{"b":1}`)})
	merge := fmt.Sprintf("{%d, tonumber(ARGV[1]), ARGV[2]}", codeMerge)
	r, complete := acceptOne(t, s, x, true, replyOf(t, s, merge, "1", string(digest[:])+`{"a":1}`))
	if complete {
		t.Fatalf("the exchange is over, error %v", x.err)
	}
	c := shortCall(t, s)
	r.command(&c)
	r.accept(&c, replyOf(t, s, `redis.error_reply("NOPERM no")`))
	if x.err == nil || isUndone(x.err) || isAnswer(x.err) {
		t.Errorf("Exchange = error %v, want that the outcome is unknown", x.err)
	}
}

// TestOutrunRetryIsNoReuse: an exchange was carried out, its answer was lost, and others went on
// with what they had derived, until its grace was over. Its second try is no theft.
func TestOutrunRetryIsNoReuse(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: MaxTimeout, Grace: time.Second, RevokeOnReuse: true}, e.Address())
	for _, repeated := range []bool{true, false} {
		spent := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
		current := mustExchange(t, s, mustExchange(t, s, spent, token.Patch{}, `{}`), token.Patch{}, `{}`)
		makeOlder(t, s, time.Minute)
		x := s.newExchange(spent, token.Patch{})
		c := s.newCall()
		r := running{operation: x, reached: repeated}
		command := r.command(&c)
		r.bulkhead = s.bulkheads.of(r.current.keys[0])
		for !r.accept(&c, s.do(c.ctx, false, command)) {
			command = r.command(&c)
		}
		_, _, err := s.Validate(t.Context(), current, nil)
		if repeated && (err != nil || x.err == nil || isAnswer(x.err) || isUndone(x.err)) {
			t.Errorf("a second try = error %v, want that its outcome is unknown; Validate = error %v, want none", x.err, err)
		}
		if !repeated && (!errors.Is(err, token.ErrInvalid) || !errors.Is(x.err, token.ErrInvalid)) {
			t.Errorf("a first try = error %v, Validate = error %v, want %v", x.err, err, token.ErrInvalid)
		}
	}
}
