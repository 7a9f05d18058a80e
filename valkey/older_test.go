package valkey

import (
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// makeOlder moves all times that a store has in its engine back, as if d had passed: nobody has
// to wait, and a machine may be slow.
func makeOlder(t testing.TB, s *Store, d time.Duration) {
	t.Helper()
	nodes, err := s.primaries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		found, err := node.Do(t.Context(), node.B().Keys().Pattern(globQuote(s.keys.prefix)+"{*").Build()).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range found {
			o := older{t, node, key, d}
			if _, ok := s.keys.sessionID(key); ok {
				o.session()
			} else {
				o.index()
			}
		}
	}
}

// older is a key of a node that is made older.
type older struct {
	t    testing.TB
	node rueidis.Client
	key  string
	by   time.Duration
}

// do sends a command. What has expired meanwhile is no error.
func (o *older) do(command rueidis.Completed) rueidis.RedisResult {
	o.t.Helper()
	r := o.node.Do(o.t.Context(), command)
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		o.t.Fatalf("%s: error %v", o.key, err)
	}
	return r
}

func (o *older) session() {
	text, err := o.do(o.node.B().Get().Key(o.key).Build()).ToString()
	if err != nil {
		return
	}
	v, err := decode(text)
	if err != nil {
		o.t.Fatal(err)
	}
	if v.extended {
		b := []byte(text)
		binary.BigEndian.PutUint64(b[createdAt:], uint64(v.created.Microseconds()-o.by.Microseconds()))
		for _, at := range timesOf() {
			if was := number(text[at : at+timeLen]); was != 0 {
				copy(b[at:], append48(nil, uint64(was-o.by.Milliseconds())))
			}
		}
		o.do(o.node.B().Set().Key(o.key).Value(string(b)).Xx().Keepttl().Build())
	}
	o.expire()
}

// timesOf returns where the points in time of an extended value are.
func timesOf() []int {
	times := []int{absoluteAt, indexEndAt}
	for at := spentAt; at < spentAt+spentLen; at += timeLen {
		times = append(times, at)
	}
	return times
}

// expire brings the end of the key nearer, or ends it.
func (o *older) expire() {
	end, err := o.do(o.node.B().Pexpiretime().Key(o.key).Build()).AsInt64()
	if err == nil && end > 0 {
		o.do(o.node.B().Pexpireat().Key(o.key).MillisecondsTimestamp(end - o.by.Milliseconds()).Build())
	}
}

// index moves the times of creation that an index goes by.
func (o *older) index() {
	list, err := o.do(o.node.B().Zrange().Key(o.key).Min("0").Max("-1").Withscores().Build()).AsZScores()
	if err != nil {
		o.t.Fatal(err)
	}
	add := []string{"XX"}
	for _, m := range list {
		add = append(add, strconv.FormatInt(int64(m.Score)-o.by.Microseconds(), 10), m.Member)
	}
	if len(list) > 0 {
		o.do(o.node.B().Arbitrary("ZADD").Keys(o.key).Args(add...).Build())
	}
	o.expire()
}

// TestMakeOlder: what is made older has all times that it would have by now.
func TestMakeOlder(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Grace: time.Minute, MaxLifetime: 5 * time.Hour}, e.Address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada"), Lifetime: 2 * time.Hour})
	tok = mustExchange(t, s, tok, token.Patch{}, `{}`)
	_, end, _ := s.Validate(t.Context(), tok, nil)
	before, err := decode(strings.Clone(raw(t, s, tok.ID)))
	if err != nil {
		t.Fatal(err)
	}
	makeOlder(t, s, time.Hour)
	after, err := decode(raw(t, s, tok.ID))
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Hour.Milliseconds()
	_, got, _ := s.Validate(t.Context(), tok, nil)
	if after.created != before.created-time.Hour || after.absolute != before.absolute-hour || after.indexEnd != before.indexEnd-hour ||
		after.spentAt(1) != before.spentAt(1)-hour || after.spentAt(2) != 0 || after.lifetime != before.lifetime || end.Sub(got).Round(time.Second) != time.Hour {
		t.Errorf("%+v, until %v, became %+v, until %v", before, end, after, got)
	}
	list, _, err := s.SubjectSessions(t.Context(), []byte("ada"), token.Page{Limit: 10})
	if err != nil || len(list) != 1 {
		t.Errorf("SubjectSessions = %d, error %v, want 1", len(list), err)
	}
	makeOlder(t, s, time.Hour)
	wantInvalid(t, s, tok)
}
