package clienttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/shard"
)

// TestCalls makes all calls at once, alone and together, and compares what a server
// answers with what it should.
func TestCalls(t *testing.T) {
	n := startNode(t, shard.Config{Grace: 10 * time.Second})
	for _, goroutines := range []int{1, 16} {
		c := newClient(t, client.Config{Addresses: []string{n.address}})
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range 2 {
					liveThrough(t, c, fmt.Sprintf("of %d-%d-%d", goroutines, g, i))
				}
			})
		}
		wg.Wait()
	}
}

// liveThrough goes through the life of one.
func liveThrough(t *testing.T, c *client.Client, subject string) {
	ctx := t.Context()
	first, err := c.Create(ctx, client.NewSession{Meta: json.RawMessage(`{"a":1.0,"b":"\u00e9"}`), Subject: subject, Lifetime: time.Hour})
	check(t, "Create", err, nil)
	v, err := c.Validate(ctx, first)
	check(t, "Validate", err, nil)
	if got, want := string(v.Meta), `{"a":1.0,"b":"\u00e9"}`; got != want || v.ExpiresIn > time.Hour || v.ExpiresIn < 50*time.Minute {
		t.Errorf("Validate = %s, %v, want %s, 1h0m0s or a little less", got, v.ExpiresIn, want)
	}
	second, err := c.Exchange(ctx, first, client.Patch{Meta: json.RawMessage(`{"c":[{}]}`)})
	check(t, "Exchange", err, nil)
	if got, want := string(second.Meta), `{"a":1.0,"b":"\u00e9","c":[{}]}`; got != want || second.Reused {
		t.Errorf("Exchange = %s, reused %v, want %s", got, second.Reused, want)
	}
	again, err := c.Exchange(ctx, first, client.Patch{})
	check(t, "Exchange in the grace", err, nil)
	if again.Token != second.Token || !again.Reused {
		t.Errorf("Exchange in the grace: reused %v, want the current token", again.Reused)
	}
	list, err := c.SubjectSessions(ctx, subject, client.Listing{})
	check(t, "SubjectSessions", err, nil)
	if len(list.Sessions) != 1 || list.More || string(list.Sessions[0].Meta) != string(second.Meta) {
		t.Errorf("SubjectSessions = %+v, want one", list)
	}
	check(t, "Delete", c.Delete(ctx, second.Token), nil)
	_, err = c.Exchange(ctx, second.Token, client.Patch{})
	check(t, "Exchange after Delete", err, client.ErrInvalidToken)
	ended, err := c.EndSubject(ctx, subject, client.Ending{})
	check(t, "EndSubject", err, nil)
	if ended != 0 {
		t.Errorf("EndSubject = %d, want 0", ended)
	}
	_, err = c.Create(ctx, client.NewSession{Meta: fmt.Appendf(nil, `{"a":"%070000d"}`, 1)})
	if !errors.Is(err, client.ErrMetaTooLarge) && !errors.Is(err, client.ErrInvalidRequest) { // of --max-meta, or --max-body
		t.Errorf("Create of too much: %v", err)
	}
}

func check(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: error = %v, want %v", what, err, want)
	}
}
