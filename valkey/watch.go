package valkey

import (
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// The times between two looks at the engine.
const (
	watchInterval        = time.Second
	watchIntervalFailing = 100 * time.Millisecond
)

// maxSpread is from how many milliseconds on that primaries' clocks are apart it is warned of.
const maxSpread = 100

// watch looks at all primaries again and again: at their clocks, and whether they answer, so
// that a store that nobody calls notices it too.
func (s *Store) watch() {
	warned := false
	for look := 0; ; look++ {
		was := s.health.failure.Load()
		spread, err := s.probe()
		if err != nil {
			f := classify(err)
			s.health.failed(f)
			s.reconnect(f)
		} else {
			s.health.answered(was)
			s.lookAtID()
			s.inspect(was != nil, look)
		}
		warned = s.warnOfSpread(spread, warned)
		s.health.check()
		if !s.rest() {
			return
		}
	}
}

// warnOfSpread warns of clocks that are too far apart, once until they are not, and returns
// whether they are.
func (s *Store) warnOfSpread(spread int64, warned bool) bool {
	if spread > maxSpread && !warned {
		s.log.Warn("clocks of primaries are apart: a call may be carried out so much later than it was given up", "milliseconds", spread)
	}
	return spread > maxSpread
}

// reconnect connects anew to an engine that has become a replica: behind its name there may be
// another one by now. Sentinels and clusters tell by themselves.
func (s *Store) reconnect(f failure) {
	if f.kind != "readonly" || s.client().Mode() != rueidis.ClientModeStandalone {
		return
	}
	client, err := rueidis.NewClient(s.options(runtime.GOMAXPROCS(0)))
	if err != nil {
		return // the next look tries again
	}
	old := s.connected.Swap(&client)
	(*old).Close()
}

// lookAtID finds out whether the engine was emptied. It is no failure if it does not tell.
func (s *Store) lookAtID() {
	ctx, cancel := context.WithTimeout(s.closing, s.timeout)
	defer cancel()
	if err := s.openID(ctx); err != nil {
		s.log.Debug("the engine does not tell the identity of its sessions", "error", err)
	}
}

// rest waits until the next look, and returns false if there is none.
func (s *Store) rest() bool {
	pause, turned := watchInterval, s.health.turned
	if s.health.failing() {
		pause, turned = watchIntervalFailing, nil
	}
	select {
	case <-s.closing.Done():
		return false
	case <-turned:
		return true
	case <-time.After(pause):
		return true
	}
}

// probe measures the clocks of all primaries, and returns how far they are apart.
func (s *Store) probe() (spread int64, err error) {
	ctx, cancel := context.WithTimeout(s.closing, s.timeout)
	defer cancel()
	primaries, err := s.primaries(ctx)
	if err != nil {
		return 0, err
	}
	s.bulkheads.follow(primaries)
	var least, most int64
	for i, primary := range primaries {
		offset, err := s.offsetOf(ctx, primary)
		if err != nil {
			return 0, err
		}
		if i == 0 {
			least, most = offset, offset
		}
		least, most = min(least, offset), max(most, offset)
	}
	s.clock.set(most)
	for _, primary := range primaries {
		if err := s.probeScript(ctx, primary); err != nil {
			return most - least, err
		}
	}
	return most - least, nil
}

// probeScript runs a script that changes nothing on a primary. Whoever can't be written to does
// not run it, but tells its time all the same.
func (s *Store) probeScript(ctx context.Context, p primary) error {
	id, c := token.Generate().ID, s.client()
	for !p.has(slotOf(s.keys.session(id))) {
		id = token.Generate().ID
	}
	deadline := strconv.FormatInt(s.clock.now()+s.timeout.Milliseconds(), 10)
	err := send(ctx, c, c.B().Eval().Script(scriptDelete.text).Numkeys(1).Key(s.keys.session(id)).Arg("", deadline).Build()).Error()
	if rueidis.IsRedisNil(err) {
		return nil
	}
	return err
}

// offsetOf returns how many milliseconds a node's clock is ahead of ours.
func (s *Store) offsetOf(ctx context.Context, node rueidis.Client) (int64, error) {
	before := s.clock.local()
	time, err := send(ctx, node, node.B().Time().Build()).AsIntSlice()
	if err != nil {
		return 0, err
	}
	if len(time) != 2 {
		return 0, errReply
	}
	return time[0]*1000 + time[1]/1000 - (before+s.clock.local())/2, nil
}
