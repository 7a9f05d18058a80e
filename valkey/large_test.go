package valkey

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// TestSizes: an exchange keeps the metadata and renews the deadline, whichever way a value of
// its size is written.
func TestSizes(t *testing.T) {
	e := enginetest.Start(t)
	policies := map[string]Config{
		"plain":    {Lifetime: time.Hour},
		"extended": {Lifetime: time.Hour, Grace: time.Minute, MaxLifetime: 2 * time.Hour},
	}
	for name, config := range policies {
		s := open(t, config, e.Address())
		for _, size := range []int{20, setRangeFrom - plainHead, setRangeFrom, 4 << 10, 60 << 10} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) { testSize(t, s, size) })
		}
	}
}

func testSize(t *testing.T, s *Store, size int) {
	meta := `{"text":"` + strings.Repeat("x", size-len(`{"text":""}`)) + `"}`
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(meta)})
	for _, patch := range []string{"", "", `{"n":1}`, ""} {
		key := s.keys.session(tok.ID)
		err := s.client().Do(t.Context(), s.client().B().Pexpire().Key(key).Milliseconds(60_000).Build()).Error()
		if err != nil {
			t.Fatal(err)
		}
		if patch != "" {
			meta = meta[:len(meta)-1] + "," + patch[1:]
		}
		var p token.Patch
		if patch != "" {
			p.Meta = []byte(patch)
		}
		x, err := s.Exchange(context.Background(), tok, p, nil)
		if err != nil || string(x.Meta) != meta {
			t.Fatalf("exchange with the patch %q = %d bytes, error %v; want %d bytes", patch, len(x.Meta), err, len(meta))
		}
		if s.grace != 0 { // the head tells that the token was spent
			if again, err := s.Exchange(context.Background(), tok, token.Patch{}, nil); err != nil || again.Token != x.Token {
				t.Errorf("again, after the patch %q = %v, error %v; want the same token", patch, again.Token, err)
			}
		}
		tok = x.Token
		got, expires, err := s.Validate(context.Background(), tok, nil)
		if err != nil || string(got) != meta {
			t.Errorf("validate after the patch %q = %d bytes, error %v; want %d bytes", patch, len(got), err, len(meta))
		}
		if left := time.Until(expires); left < 59*time.Minute {
			t.Errorf("after the patch %q the session has %v left, want an hour", patch, left)
		}
	}
}
