package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenserver/shard"
)

// wantEndedBy ends sessions of a subject by another field and checks how many there were.
func (c *client) wantEndedBy(subject, field string, want int) {
	c.t.Helper()
	r := c.do("DELETE", "/subject", `{"subject":"`+subject+`",`+field+`}`)
	if want := fmt.Sprintf(`{"Ok":{"ended":%d}}`, want); r.status != 200 || r.contentType() != "application/json" || r.body != want {
		c.t.Errorf("DELETE of subject %.100q with %.100s: %v, want %s", subject, field, r, want)
	}
}

func TestEndSession(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	first, second, third := c.createFor("ann", `{"n":1}`), c.createFor("ann", `{"n":2}`), c.createFor("ann", `{"n":3}`)
	bob, nobodys := c.createFor("bob", `{}`), c.create(`{}`)
	second, _ = c.exchange(second, "")
	none := []string{nameOf(t, bob), nameOf(t, nobodys), nameOf(t, somewhere), "", "x", "AAAAAAAAAAAAAAAA", second, nameOf(t, second)[:15] + "=", marker}
	for _, name := range none {
		c.wantEndedBy("ann", `"session":"`+name+`"`, 0)
	}
	c.wantEndedBy("carol", `"session":"`+nameOf(t, second)+`"`, 0)
	c.wantSessions("ann", `{"n":3}`, `{"n":2}`, `{"n":1}`)

	c.wantEndedBy("ann", `"session":"`+nameOf(t, second)+`","keep":null,"token":1`, 1)
	c.wantEndedBy("ann", `"session":"`+nameOf(t, second)+`"`, 0)
	c.do("PUT", "/token", tokenBody(second)).wantInvalidToken(t)
	c.wantSessions("ann", `{"n":3}`, `{"n":1}`)
	c.wantEndedBy("ann", `"s\u0065ssion" : "\u00`+fmt.Sprintf("%x", nameOf(t, first)[0])+nameOf(t, first)[1:]+`"`, 1)
	c.exchange(third, "")
	c.exchange(bob, "")
	c.wantEndedBy("ann", `"session":null`, 1) // as absent: all of them
}

func TestEndOthers(t *testing.T) {
	for name, grace := range map[string]time.Duration{"strict": 0, "grace": time.Minute} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, Config{Store: newStore(t, shard.Config{Grace: grace})}).dial(t)
			for _, kept := range []int{0, 1, 2} {
				var tokens []string
				for n := range 3 {
					tokens = append(tokens, c.createFor("ann", fmt.Sprintf(`{"n":%d}`, n)))
				}
				bob := c.createFor("bob", `{}`)
				keep, _ := c.exchange(tokens[kept], "")
				c.wantEndedBy("ann", `"session":null,"keep":"`+keep+`"`, 2)
				c.wantEndedBy("ann", `"ke\u0065p":"`+escaped(keep)+`"`, 0)
				c.wantSessions("ann", fmt.Sprintf(`{"n":%d}`, kept))
				c.exchange(bob, "")
				c.wantEndedBy("ann", `"keep":null`, 1) // as absent: all of them
			}
		})
	}
}

// A token that is not valid, or that of somebody else, ends nothing and revokes nothing.
func TestEndOthersRefused(t *testing.T) {
	for name, cfg := range map[string]shard.Config{"strict": {}, "revoke": {Grace: time.Nanosecond, RevokeOnReuse: true}} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, Config{Store: newStore(t, cfg)}).dial(t)
			spent := c.createFor("ann", `{"n":1}`)
			current, _ := c.exchange(spent, "")
			bob, nobodys := c.createFor("bob", `{}`), c.create(`{}`)
			guess := string(parse(t, current).Next().Append(nil))
			c.createFor("ann", `{"n":2}`)
			for _, keep := range []string{spent, guess, bob, nobodys, somewhere, "", "x", nameOf(t, current), current + "A", marker, strings.Repeat("A", 10000)} {
				c.do("DELETE", "/subject", `{"subject":"ann","keep":"`+keep+`"}`).wantInvalidToken(t)
			}
			c.do("DELETE", "/subject", `{"subject":"carol","keep":"`+current+`"}`).wantInvalidToken(t)
			c.wantSessions("ann", `{"n":2}`, `{"n":1}`)
			c.exchange(bob, "")
			c.exchange(nobodys, "")
			c.wantEndedBy("ann", `"keep":"`+current+`"`, 1)
			c.exchange(current, "")
		})
	}
}

// A session is kept by a spent token in its grace.
func TestEndOthersInGrace(t *testing.T) {
	c := serve(t, Config{Store: newStore(t, shard.Config{Grace: time.Minute, RevokeOnReuse: true})}).dial(t)
	spent := c.createFor("ann", `{"n":1}`)
	current, _ := c.exchange(spent, "")
	c.createFor("ann", `{"n":2}`)
	c.wantEndedBy("ann", `"keep":"`+spent+`"`, 1)
	c.do("PUT", "/token", tokenBody(spent)).wantReplay(t, current, `{"n":1}`)
	c.wantSessions("ann", `{"n":1}`)
}
