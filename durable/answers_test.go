package durable

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/token"
)

// gate holds up syncs of the log while it is shut.
type gate struct {
	mu   sync.RWMutex
	shut atomic.Bool
}

func (g *gate) String() string { return "gate" }

func (g *gate) MaybeError(op errorfs.Op) error {
	if isLogSync(op) {
		g.mu.RLock()
		defer g.mu.RUnlock()
	}
	return nil
}

func (g *gate) close() { g.mu.Lock(); g.shut.Store(true) }
func (g *gate) open()  { g.shut.Store(false); g.mu.Unlock() }

// TestAnswersWait holds up the sync of a change, and has others ask for what
// rests on it: none of them gets an answer before the change is on disk.
func TestAnswersWait(t *testing.T) {
	ctx := context.Background()
	subject := []byte("bob")
	exchange := func(s *Store, tok token.Token) { s.Exchange(ctx, tok, token.Patch{Meta: []byte(`{"x":1}`)}, nil) }
	remove := func(s *Store, tok token.Token) { s.Delete(ctx, tok) }
	changes := map[string]func(*Store, token.Token){
		"exchange":    exchange,
		"delete":      remove,
		"end subject": func(s *Store, _ token.Token) { s.EndSubject(ctx, subject) },
		"end session": func(s *Store, tok token.Token) { s.EndSession(ctx, subject, tok.ID.Name()) },
	}
	asks := map[string]func(*Store, token.Token){
		"exchange":    exchange,
		"delete":      remove,
		"validate":    func(s *Store, tok token.Token) { s.Validate(ctx, tok, nil) },
		"end subject": func(s *Store, _ token.Token) { s.EndSubject(ctx, subject) },
		"end others":  func(s *Store, tok token.Token) { s.EndOthers(ctx, subject, tok) },
		"end session": func(s *Store, tok token.Token) { s.EndSession(ctx, subject, tok.ID.Name()) },
		"list":        func(s *Store, _ token.Token) { s.SubjectSessions(ctx, subject, token.Page{Limit: 10}) },
		"dump": func(s *Store, _ token.Token) {
			for range s.Sessions(ctx) {
			}
		},
	}
	for _, grace := range []time.Duration{0, time.Minute} {
		for changeName, change := range changes {
			for askName, ask := range asks {
				t.Run(fmt.Sprintf("grace=%v/%s/%s", grace, changeName, askName), func(t *testing.T) {
					g := new(gate)
					cfg := memConfig(errorfs.Wrap(vfs.NewMem(), g))
					cfg.Store.Grace = grace
					s := mustOpen(t, cfg)
					defer mustClose(t, s)
					tok, err := s.Create(ctx, token.NewSession{Meta: []byte(`{}`), Subject: subject})
					if err != nil {
						t.Fatal(err)
					}
					g.close()
					var done sync.WaitGroup
					done.Go(func() { change(s, tok) })
					for s.Stats().Exchanged+s.Stats().Deleted+s.Stats().Ended == 0 {
						runtime.Gosched()
					}
					done.Go(func() {
						if ask(s, tok); g.shut.Load() {
							t.Errorf("%s was answered before the %s was on disk", askName, changeName)
						}
					})
					for range 200 {
						runtime.Gosched()
					}
					g.open()
					done.Wait()
				})
			}
		}
	}
}
