package client

import (
	"context"
	"testing"
	"time"
)

// TestARequestIsLeftOnce: a call is abandoned, and the request that it was part of is
// followed by another, before its caller has left the first one.
func TestARequestIsLeftOnce(t *testing.T) {
	a := &call{kind: exchange, done: make(chan struct{}, 1), expires: time.Now().Add(time.Hour)}
	b := &call{kind: exchange, done: make(chan struct{}, 1), expires: a.expires}
	claim([]*call{a, b}, &shared{cancel: func() {}})
	if was := a.state.Swap(abandoned); was != sent {
		t.Fatalf("state = %d, want sent", was)
	}
	a.release()
	b.release()
	ctx, cancel := context.WithCancel(t.Context())
	claim([]*call{a, b}, &shared{cancel: cancel})
	a.leave()
	if ctx.Err() != nil {
		t.Error("the request has ended that the other call waits for")
	}
	b.state.Swap(abandoned)
	b.leave()
	if ctx.Err() == nil {
		t.Error("the request goes on that nobody waits for")
	}
}
