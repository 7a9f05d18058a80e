package clienttest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/shard"
)

// TestGracefulRestart stops and starts a server under load: no call fails, so none ends
// with an unknown outcome, and each session is as its last answer said.
func TestGracefulRestart(t *testing.T) {
	const workers, restarts = 32, 3
	n := startNode(t, shard.Config{})
	c := newClient(t, client.Config{Addresses: []string{n.address}, Timeout: 30 * time.Second})
	var stopped atomic.Bool
	var exchanges atomic.Int64
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			s := ledger{t: t, client: c, number: i}
			for s.begin(); !stopped.Load() && !t.Failed(); exchanges.Add(1) {
				s.exchange()
			}
			s.check()
		})
	}
	for range restarts {
		for before := exchanges.Load(); exchanges.Load() < before+20*workers && !t.Failed(); {
			time.Sleep(time.Millisecond) // until the load is under way again
		}
		n.stop()
		n.start()
	}
	stopped.Store(true)
	wg.Wait()
	t.Logf("%d exchanges", exchanges.Load())
}

// ledger is a session as its answers have told it.
type ledger struct {
	t      *testing.T
	client *client.Client
	number int
	token  string
	change int
}

// meta is the metadata of a session.
type meta struct{ Session, Change int }

func (l *ledger) begin() {
	token, err := l.client.Create(context.Background(), client.NewSession{Meta: l.meta()})
	if err != nil {
		l.t.Errorf("session %d: create: %v", l.number, err)
	}
	l.token = token
}

func (l *ledger) meta() json.RawMessage {
	return fmt.Appendf(nil, `{"Session":%d,"Change":%d}`, l.number, l.change)
}

func (l *ledger) exchange() {
	l.change++
	x, err := l.client.Exchange(context.Background(), l.token, client.Patch{Meta: l.meta()})
	if err != nil {
		l.t.Errorf("session %d: exchange %d: %v", l.number, l.change, err)
		return
	}
	l.token = x.Token
	l.compare(x.Meta)
}

// check looks at the session with its last token.
func (l *ledger) check() {
	v, err := l.client.Validate(context.Background(), l.token)
	if err != nil {
		l.t.Errorf("session %d: validate after exchange %d: %v", l.number, l.change, err)
		return
	}
	l.compare(v.Meta)
}

func (l *ledger) compare(raw json.RawMessage) {
	got, err := client.Decode[meta](raw)
	if want := (meta{l.number, l.change}); err != nil || got != want {
		l.t.Errorf("session %d: metadata = %s, %v, want %+v", l.number, raw, err, want)
	}
}
