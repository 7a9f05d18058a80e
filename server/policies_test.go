package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

// withPolicies runs a test with fake time, which begins at midnight of
// 2000-01-01, and a server of sessions that live by the default of two hours.
func withPolicies(t *testing.T, cfg shard.Config, test func(t *testing.T, d *direct)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Shards = 1
		store := shard.New(cfg)
		defer store.Close()
		test(t, newDirect(Config{Store: store}))
	})
}

// wantReused checks the header that a replay in its grace has, and nothing else.
func (r reply) wantReused(t testing.TB, want bool) {
	t.Helper()
	if got := r.header["Token-Reused"]; want != slices.Equal(got, []string{"true"}) || !want && got != nil {
		t.Errorf("answer %v has Token-Reused %q, want it: %v", r, got, want)
	}
}

// wantReplay checks an answer with a session's current token and metadata.
func (r reply) wantReplay(t testing.TB, current, meta string) {
	t.Helper()
	if want := `{"Ok":{"token":"` + current + `","meta":` + meta + `}}`; r.status != 200 || r.body != want {
		t.Errorf("replay: %v, want %s", r, want)
	}
	r.wantReused(t, true)
}

// exchangeTimes exchanges a token n times and returns all, the last one current.
func (c *client) exchangeTimes(tok string, n int) []string {
	c.t.Helper()
	chain := []string{tok}
	for range n {
		tok, _ = c.exchange(tok, "")
		chain = append(chain, tok)
	}
	return chain
}

// Of ten requests at once with one token, each gets what the others get, and
// none of the patches is lost: one exchanges, and nine are replays.
func TestGraceOfTenAtOnce(t *testing.T) {
	const racers = 10
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	store := newStore(t, shard.Config{Grace: time.Minute})
	s := serve(t, Config{Store: store})
	clients := make([]*client, racers)
	for i := range clients {
		clients[i] = s.dial(t)
	}
	tok := clients[0].create(`{}`)
	for round := range rounds {
		replies := race(clients, func(i int) string {
			return requestText("PUT", "/token", exchangeBody(tok, fmt.Sprintf(`{"racer-%d":%d}`, i, round)))
		})
		first, reused := "", 0
		for i, r := range replies {
			next, meta, ok := r.exchanged()
			if !ok || first != "" && next != first || next == tok {
				t.Fatalf("round %d: racer %d: %v, want the token that the others got", round, i, r)
			}
			if own := fmt.Sprintf(`"racer-%d":%d`, i, round); !strings.Contains(meta+",", own) {
				t.Errorf("round %d: racer %d got metadata %s, want its patch in it", round, i, meta)
			}
			if r.header.Get("Token-Reused") != "" {
				r.wantReused(t, true)
				reused++
			}
			first = next
		}
		if reused != racers-1 {
			t.Errorf("round %d: %d answers have Token-Reused, want all but one", round, reused)
		}
		wantPatches(t, clients[0].do("POST", "/token/validate", tokenBody(first)), racers, round)
		tok = first
	}
	if got := store.Stats(); got.Exchanged != uint64(rounds) || got.Replayed != uint64(rounds*(racers-1)) || got.Reused != 0 {
		t.Errorf("%d exchanges and %d replays, %d too late, are counted", got.Exchanged, got.Replayed, got.Reused)
	}
}

// wantPatches checks that the metadata has the patch of each racer.
func wantPatches(t *testing.T, r reply, racers, round int) {
	t.Helper()
	var answer struct{ Ok struct{ Meta map[string]int } }
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
		t.Fatalf("validate: %v, %v", r, err)
	}
	for i := range racers {
		if got, ok := answer.Ok.Meta[fmt.Sprintf("racer-%d", i)]; got != round || !ok || len(answer.Ok.Meta) != racers {
			t.Errorf("round %d: metadata %v, want all patches", round, answer.Ok.Meta)
		}
	}
}

// Without a grace, one of ten wins and its patch alone is merged.
func TestNoGraceForTenAtOnce(t *testing.T) {
	s := serve(t, Config{})
	clients := make([]*client, 10)
	for i := range clients {
		clients[i] = s.dial(t)
	}
	for round := range 30 {
		tok := clients[0].create(`{}`)
		replies := race(clients, func(i int) string {
			return requestText("PUT", "/token", exchangeBody(tok, fmt.Sprintf(`{"racer-%d":1}`, i)))
		})
		next := ""
		for i, r := range replies {
			r.wantReused(t, false)
			won, meta, ok := r.exchanged()
			if !ok {
				r.wantInvalidToken(t)
				continue
			}
			if want := fmt.Sprintf(`{"racer-%d":1}`, i); next != "" || meta != want {
				t.Errorf("round %d: racer %d won with metadata %s, want %s and no other winner", round, i, meta, want)
			}
			next = won
		}
		clients[0].exchange(next, "")
	}
}

func TestGraceHeaders(t *testing.T) {
	c := serve(t, Config{Store: newStore(t, shard.Config{Grace: time.Minute})}).dial(t)
	tok := c.createFor("ann", `{}`)
	want := map[string]string{"Content-Type": "application/json", "Content-Length": "61", "Cache-Control": "no-store"}
	c.do("PUT", "/token", tokenBody(tok)).wantHeaders(t, want)
	replay := c.do("PUT", "/token", tokenBody(tok))
	want["Token-Reused"] = "true"
	replay.wantHeaders(t, want)
	current, _, _ := replay.exchanged()
	replay.wantReplay(t, current, `{}`)

	// On the same connection, whose response was a replay's before.
	others := []reply{
		c.do("POST", "/token/validate", tokenBody(tok)),
		c.do("POST", "/token/validate", tokenBody(current)),
		c.do("POST", "/token", `{"meta":{}}`),
		c.do("PUT", "/token", tokenBody(somewhere)),
		c.do("PUT", "/token", exchangeBody(tok, `[]`)),
		c.do("PUT", "/token", exchangeBody(tok, large(0)+"x")),
		c.do("POST", "/subject/sessions", subjectBody("ann")),
		c.do("PUT", "/token", tokenBody(current)),
		c.do("GET", "/healthz", ""),
		c.do("DELETE", "/token", tokenBody(tok)),
		c.do("DELETE", "/subject", subjectBody("ann")),
		c.do("PUT", "/token", tokenBody(tok)),
	}
	for _, r := range others {
		r.wantReused(t, false)
	}
}

// Each spent token has a window of its own, which nothing prolongs.
func TestGraceWindows(t *testing.T) {
	const grace = 5 * time.Second
	withPolicies(t, shard.Config{Grace: grace}, func(t *testing.T, d *direct) {
		put := func(tok, patch string) reply { return d.do(t, "PUT", "/token", exchangeBody(tok, patch)) }
		exchange := func(tok string) string {
			r := put(tok, "")
			next, _, ok := r.exchanged()
			if !ok {
				t.Fatalf("PUT: %v", r)
			}
			r.wantReused(t, false)
			return next
		}
		a := d.do(t, "POST", "/token", `{"meta":{}}`).body
		time.Sleep(time.Minute) // that it is not spent begins no window
		begun := time.Now()
		at := func(after time.Duration) { time.Sleep(time.Until(begun.Add(after))) }
		b := exchange(a)
		put(a, "").wantReplay(t, b, `{}`)
		at(2 * time.Second)
		put(a, "").wantReplay(t, b, `{}`)
		c := exchange(b)
		put(a, "").wantReplay(t, c, `{}`)
		put(b, "").wantReplay(t, c, `{}`)

		at(grace - time.Millisecond)
		d.wantExpiresIn(t, a, 7198) // from B's exchange on: replays renew nothing
		put(a, "").wantReplay(t, c, `{}`)
		put(b, `{}`).wantReplay(t, c, `{}`)
		at(grace)
		put(a, `{"late":1}`).wantInvalidToken(t)
		d.do(t, "POST", "/token/validate", tokenBody(a)).wantInvalidToken(t)
		put(b, "").wantReplay(t, c, `{}`)

		at(2*time.Second + grace - time.Millisecond)
		d.wantExpiresIn(t, b, 7196)
		put(b, "").wantReplay(t, c, `{}`)
		at(2*time.Second + grace)
		put(b, "").wantInvalidToken(t)
		d.do(t, "POST", "/token/validate", tokenBody(b)).wantInvalidToken(t)
		for _, late := range []string{a, b} { // is accepted, and ends nothing
			if r := d.do(t, "DELETE", "/token", tokenBody(late)); r.status != 202 {
				t.Errorf("DELETE of a late token: %v, want 202", r)
			}
		}
		d.wantExpiresIn(t, c, 7195)
		put(exchange(c), "").wantReused(t, false)
	})
}

// A spent token is known for eight later exchanges.
func TestGraceDepth(t *testing.T) {
	c := serve(t, Config{Store: newStore(t, shard.Config{Grace: time.Minute})}).dial(t)
	chain := c.exchangeTimes(c.create(`{"a":1}`), 20)
	current := chain[20]
	for i, tok := range chain[:20] {
		if r := c.do("PUT", "/token", tokenBody(tok)); i >= 12 {
			r.wantReplay(t, current, `{"a":1}`)
		} else {
			r.wantInvalidToken(t)
			r.wantReused(t, false)
		}
	}
	c.exchange(current, "")
}

// In its window a spent token stands for its session: to look, and to end it.
func TestGraceOfValidateAndDelete(t *testing.T) {
	c := serve(t, Config{Store: newStore(t, shard.Config{Grace: time.Minute})}).dial(t)
	for steps := 1; steps <= token.GraceDepth; steps++ {
		chain := c.exchangeTimes(c.create(`{"n":1}`), steps)
		c.exchange(chain[steps], `{"n":2}`)
		for _, tok := range chain[1:] {
			r := c.do("POST", "/token/validate", tokenBody(tok))
			if want := `{"Ok":{"meta":{"n":2},"expires_in":7200}}`; r.body != want {
				t.Errorf("validate: %v, want %s", r, want)
			}
		}
		r := c.do("DELETE", "/token", tokenBody(chain[1]))
		if r.status != 202 || r.body != "" {
			t.Errorf("DELETE: %v, want 202 and no body", r)
		}
		r.wantHeaders(t, map[string]string{"Content-Length": "0", "Cache-Control": "no-store"})
		for _, tok := range chain {
			c.do("PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
			c.do("POST", "/token/validate", tokenBody(tok)).wantInvalidToken(t)
		}
	}
}

// A replay whose patch does not fit changes nothing, and is good without it.
func TestGraceOfPatchesThatDoNotFit(t *testing.T) {
	tests := []struct {
		cfg    shard.Config
		status int
		code   string
	}{
		{shard.Config{Grace: time.Minute, MaxMeta: 100}, 413, "MetaTooLarge"},
		{shard.Config{Grace: time.Minute, MaxBytes: 2000}, 507, "StoreFull"},
	}
	for _, test := range tests {
		c := serve(t, Config{Store: newStore(t, test.cfg)}).dial(t)
		tok := c.create(`{"a":1}`)
		current, _ := c.exchange(tok, "")
		for range 3 {
			r := c.do("PUT", "/token", exchangeBody(tok, `{"a":2,"`+marker+`":"`+strings.Repeat("x", 20_000)+`"}`))
			r.wantError(t, test.status, test.code)
			r.wantReused(t, false)
		}
		c.do("PUT", "/token", tokenBody(tok)).wantReplay(t, current, `{"a":1}`)
		c.do("PUT", "/token", exchangeBody(tok, `{"b":1}`)).wantReplay(t, current, `{"a":1,"b":1}`)
		c.exchange(current, "")
	}
}

// A replay may bring a patch of the whole request's worth, and white space.
func TestGraceMergesPatches(t *testing.T) {
	c := serve(t, Config{Store: newStore(t, shard.Config{Grace: time.Minute})}).dial(t)
	tok := c.create(`{"user":"ann","n":1.0}`)
	current, _ := c.exchange(tok, `{"n":2.0}`)
	for _, test := range []struct{ patch, meta string }{
		{"", `{"user":"ann","n":2.0}`},
		{`null`, `{"user":"ann","n":2.0}`},
		{`{}`, `{"user":"ann","n":2.0}`},
		{` { "\u006e" : 1e999 , "x" : [ ] } `, `{"user":"ann","n":1e999,"x":[]}`},
		{`{"x":1,"x":2}`, `{"user":"ann","n":1e999,"x":2}`},
	} {
		c.do("PUT", "/token", exchangeBody(tok, test.patch)).wantReplay(t, current, test.meta)
	}
	unset := `{"token":"` + tok + `","meta":{"x":3,"y":4},"unset":["x"]}`
	c.do("PUT", "/token", unset).wantReplay(t, current, `{"user":"ann","n":1e999,"y":4}`)
	c.do("PUT", "/token", `{"unset":["\u0079"],"token":"`+tok+`"}`).wantReplay(t, current, `{"user":"ann","n":1e999}`)
	c.do("PUT", "/token", exchangeBody(tok, `{"x":2}`)).wantReplay(t, current, `{"user":"ann","n":1e999,"x":2}`)
	c.do("PUT", "/token", `{"token":"`+escaped(tok)+`"}`).wantReplay(t, current, `{"user":"ann","n":1e999,"x":2}`)
	if _, meta := c.exchange(current, ""); meta != `{"user":"ann","n":1e999,"x":2}` {
		t.Errorf("metadata after replays = %s", meta)
	}
}

// What ends a session where reuse revokes it, and what does not.
func TestRevokeOnReuse(t *testing.T) {
	madeUp := func(chain []string) string { return string(parse(t, chain[0]).Next().Append(nil)) }
	spent := func(steps int) func([]string) string {
		return func(chain []string) string { return chain[len(chain)-1-steps] }
	}
	tests := []struct {
		name, method, path string
		token              func(chain []string) string
		patch              string
		revokes            bool
	}{
		{"PUT of a late token", "PUT", "/token", spent(9), "", true},
		{"PUT of the first token after ten exchanges of a thief", "PUT", "/token", spent(10), "", true},
		{"PUT of a late token with a patch", "PUT", "/token", spent(9), `{"a":2}`, true},
		{"PUT of a token that is made up", "PUT", "/token", madeUp, "", true},
		{"DELETE of a late token", "DELETE", "/token", spent(9), "", true},
		{"DELETE of a token that is made up", "DELETE", "/token", madeUp, "", true},
		{"validate of a late token", "POST", "/token/validate", spent(9), "", false},
		{"validate of a token that is made up", "POST", "/token/validate", madeUp, "", false},
		{"PUT in the grace", "PUT", "/token", spent(8), "", false},
		{"PUT with a patch that is none", "PUT", "/token", spent(9), `[]`, false},
		{"PUT of an unknown id", "PUT", "/token", func([]string) string { return somewhere }, "", false},
		{"DELETE of an unknown id", "DELETE", "/token", func([]string) string { return somewhere }, "", false},
	}
	for _, revoke := range []bool{true, false} {
		store := newStore(t, shard.Config{Grace: time.Minute, RevokeOnReuse: revoke})
		c := serve(t, Config{Store: store}).dial(t)
		revoked := uint64(0)
		for _, test := range tests {
			other := c.createFor("ann", `{"a":1}`) // of the same user
			chain := c.exchangeTimes(c.createFor("ann", `{"a":1}`), 10)
			r := c.do(test.method, test.path, exchangeBody(test.token(chain), test.patch))
			if test.revokes && test.method == "PUT" {
				r.wantInvalidToken(t)
				r.wantReused(t, false)
			}
			if test.method == "DELETE" && (r.status != 202 || r.body != "") {
				t.Errorf("%s: %v, want 202 and no body", test.name, r)
			}
			after := c.do("PUT", "/token", tokenBody(chain[10]))
			if _, meta, lives := after.exchanged(); lives == (test.revokes && revoke) || lives && meta != `{"a":1}` {
				t.Errorf("%s, revoke %v: the current token then gets %v", test.name, revoke, after)
			}
			if test.revokes && revoke {
				after.wantInvalidToken(t)
				revoked++
			}
			c.exchange(other, "")
		}
		if got := store.Stats(); got.Revoked != revoked {
			t.Errorf("revoke %v: %d sessions are counted as revoked, want %d", revoke, got.Revoked, revoked)
		}
	}
}

// The window's end is where reuse begins.
func TestRevokeAfterTheGrace(t *testing.T) {
	const grace = 5 * time.Second
	withPolicies(t, shard.Config{Grace: grace, RevokeOnReuse: true}, func(t *testing.T, d *direct) {
		put := func(tok string) reply { return d.do(t, "PUT", "/token", tokenBody(tok)) }
		for _, method := range []string{"PUT", "DELETE"} {
			a := d.do(t, "POST", "/token", `{"meta":{}}`).body
			b, _, _ := put(a).exchanged()
			time.Sleep(grace - time.Millisecond)
			put(a).wantReplay(t, b, `{}`)
			time.Sleep(time.Millisecond)
			d.do(t, "POST", "/token/validate", tokenBody(a)).wantInvalidToken(t)
			d.wantExpiresIn(t, b, 7195) // that was only a look
			d.do(t, method, "/token", tokenBody(a))
			put(b).wantInvalidToken(t)
			d.do(t, "POST", "/token/validate", tokenBody(b)).wantInvalidToken(t)
		}
	})
}
