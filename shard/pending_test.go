package shard

import (
	"encoding/binary"
	"errors"
	"testing"

	"tokenserver/token"
)

// writeState is a Write that lasts, has failed or is under way.
type writeState string

func (w writeState) Lasts() bool { return w == "lasts" }

func (w writeState) Wait() error {
	if w == "failed" {
		return errBroken
	}
	return nil
}

// idOf returns the id with a number.
func idOf(n int) (id token.ID) {
	binary.LittleEndian.PutUint32(id[:], uint32(n))
	return id
}

// TestPendingStaysSmall adds changes that last, and now and then one that does
// not: those stay, and of the others there are never many.
func TestPendingStaysSmall(t *testing.T) {
	for _, state := range []writeState{"failed", "under way"} {
		var p pending
		stay := 0
		for n := range 10_000 {
			w := writeState("lasts")
			if n%100 == 0 {
				w = state
				stay++
			}
			p.add(idOf(n), w)
			if len(p.writes) > max(minPending, 2*stay) {
				t.Fatalf("%d changes are kept, of which %d are %s", len(p.writes), stay, state)
			}
		}
		if got := len(p.all()); got != stay {
			t.Errorf("%d changes are to be waited for, want the %d that are %s", got, stay, state)
		}
		for n := 0; n < 10_000; n += 100 {
			if got := p.writes[idOf(n)]; got != state {
				t.Errorf("change %d is %v, want one that is %s", n, got, state)
			}
		}
	}
}

// TestPendingIsTheLast: the last change of a session takes the place of those before.
func TestPendingIsTheLast(t *testing.T) {
	var p pending
	for _, w := range []writeState{"lasts", "failed", "under way"} {
		p.add(idOf(1), w)
		if got := p.writes[idOf(1)]; len(p.writes) != 1 || got != w {
			t.Errorf("%d changes, that of the session is %v, want %q", len(p.writes), got, w)
		}
	}
}

func TestWait(t *testing.T) {
	tests := []struct {
		writes []Write
		want   error
	}{
		{nil, nil},
		{[]Write{writeState("lasts"), writeState("under way")}, nil},
		{[]Write{writeState("lasts"), writeState("failed")}, errBroken},
	}
	for _, tt := range tests {
		if err := waitAll(tt.writes); !errors.Is(err, tt.want) {
			t.Errorf("waitAll(%v) = %v, want %v", tt.writes, err, tt.want)
		}
	}
	if err := wait(nil); err != nil {
		t.Errorf("wait(nil) = %v", err)
	}
}
