package clienttest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"tokenserver/client"
	"tokenserver/internal/faultproxy"
	"tokenserver/internal/stats"
	"tokenserver/shard"
)

// gatherer makes calls travel together: they gather behind one that waits for its
// secret.
type gatherer struct {
	*client.Client
	turns chan func() // called when a secret is asked for
}

func newGatherer(t testing.TB, address string) *gatherer {
	g := &gatherer{turns: make(chan func(), 2)}
	g.Client = newClient(t, client.Config{Addresses: []string{address}, MaxInFlight: 1, Secret: func(context.Context) (string, error) {
		select {
		case f := <-g.turns:
			f()
		default:
		}
		return "secret", nil
	}})
	return g
}

// together makes n calls that are one batch, and calls before when it is about to leave.
func (g *gatherer) together(ctx context.Context, n int, call func(ctx context.Context, i int), before func()) {
	asked, release := make(chan struct{}), make(chan struct{})
	g.turns <- func() { close(asked); <-release }
	var wg sync.WaitGroup
	wg.Go(func() { g.Validate(ctx, "first") })
	<-asked
	g.turns <- before
	for i := range n {
		w := &waited{Context: ctx, waits: make(chan struct{})}
		wg.Go(func() { call(w, i) })
		<-w.waits
	}
	close(release)
	wg.Wait()
}

// waited tells when somebody waits for the end of a context, as a call does that has
// taken its place behind others.
type waited struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (w *waited) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

// TestCallsTravelInBatches: the server says how many.
func TestCallsTravelInBatches(t *testing.T) {
	n := startNode(t, shard.Config{})
	g := newGatherer(t, n.address)
	const most = 10
	g.together(t.Context(), most, func(ctx context.Context, i int) {
		_, err := g.Create(ctx, client.NewSession{Meta: []byte(`{}`)})
		check(t, "Create", err, nil)
	}, func() {})
	want := []stats.ItemCount{{Kind: "create", Result: "Ok", Count: most}}
	if got := n.server.Stats().BatchItems; !slices.Equal(got, want) {
		t.Errorf("items of batches = %+v, want %+v", got, want)
	}
}

// TestCutBatchAnywhere: the connection to a server breaks at each byte of the answer to
// a batch. Calls whose part has come are told so, and the others that nobody knows.
func TestCutBatchAnywhere(t *testing.T) {
	n := startNode(t, shard.Config{})
	p := faultproxy.Start(t, n.address)
	direct := newClient(t, client.Config{Addresses: []string{n.address}})
	g := newGatherer(t, p.Address)
	const (
		items = 3
		most  = 700 // bytes; longer than the answer
	)
	told := make(map[int]bool) // how many had their answer
	for at := int64(0); at < most; at++ {
		tokens, errs := make([]string, items), make([]error, items)
		next := make([]client.Exchanged, items)
		for i := range tokens {
			var err error
			tokens[i], err = direct.Create(t.Context(), client.NewSession{Meta: []byte(`{"user":1}`)})
			check(t, "Create", err, nil)
		}
		g.Ready(t.Context()) // the last connection may have been cut
		g.together(t.Context(), items, func(ctx context.Context, i int) {
			next[i], errs[i] = g.Exchange(ctx, tokens[i], client.Patch{})
		}, func() { p.CutAfter(faultproxy.Answers, at) })
		p.Mend()
		answered := 0
		for i, err := range errs {
			_, unspent := direct.Validate(t.Context(), tokens[i])
			_, lives := direct.Validate(t.Context(), next[i].Token)
			switch {
			case err == nil && lives == nil && errors.Is(unspent, client.ErrInvalidToken):
				answered++
			case errors.Is(err, client.ErrOutcomeUnknown):
			default:
				t.Errorf("cut at byte %d: error = %v; the old token: %v, the new one: %v", at, err, unspent, lives)
			}
		}
		told[answered] = true
	}
	for n := range items + 1 {
		if !told[n] {
			t.Errorf("wherever the answer ends, %d of %d calls never have theirs", n, items)
		}
	}
}
