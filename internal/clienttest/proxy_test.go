package clienttest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/internal/faultproxy"
	"tokenserver/shard"
)

// TestCutAnywhere: the connection to a server breaks at each byte of a request and of
// its answer. What a call says is what has happened, and no session is lost.
func TestCutAnywhere(t *testing.T) {
	n := startNode(t, shard.Config{})
	p := faultproxy.Start(t, n.address)
	direct := newClient(t, client.Config{Addresses: []string{n.address}})
	through := newClient(t, client.Config{Addresses: []string{p.Address}, MaxInFlight: 1})
	const most = 400 // bytes; longer than request and answer of a call
	for at := int64(0); at < most; at++ {
		for name, direction := range map[string]faultproxy.Direction{"request": faultproxy.Requests, "answer": faultproxy.Answers} {
			token, err := direct.Create(t.Context(), client.NewSession{Meta: []byte(`{"user":1}`)})
			if err != nil {
				t.Fatal(err)
			}
			through.Ready(t.Context()) // the last connection may have been cut
			p.CutAfter(direction, at)
			x, err := through.Exchange(t.Context(), token, client.Patch{})
			p.Mend()
			_, unspent := direct.Validate(t.Context(), token)
			_, lives := direct.Validate(t.Context(), x.Token)
			switch {
			case err == nil && lives == nil && errors.Is(unspent, client.ErrInvalidToken):
			case errors.Is(err, client.ErrOutcomeUnknown):
			default:
				t.Errorf("cut at byte %d of the %s: error = %v; the old token: %v, the new one: %v", at, name, err, unspent, lives)
			}
		}
	}
}

// TestHalfOpen: connections stay open and nothing passes any more. Calls end at their
// deadline, and go on as soon as there are other connections.
func TestHalfOpen(t *testing.T) {
	n := startNode(t, shard.Config{})
	p := faultproxy.Start(t, n.address)
	c := newClient(t, client.Config{Addresses: []string{p.Address}, Timeout: 200 * time.Millisecond})
	token, err := c.Create(t.Context(), client.NewSession{Meta: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	p.Silence(true)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			begun := time.Now()
			_, err := c.Validate(t.Context(), token)
			if took := time.Since(begun); err == nil || took > 5*time.Second {
				t.Errorf("a call took %v and ended with %v", took, err)
			}
		})
	}
	wg.Wait()
	p.Silence(false)
	late := newClient(t, client.Config{Addresses: []string{p.Address}})
	for _, c := range []*client.Client{c, late} {
		var err error
		for begun := time.Now(); time.Since(begun) < 10*time.Second; {
			if _, err = c.Validate(t.Context(), token); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("once bytes pass again: %v", err)
		}
	}
}
