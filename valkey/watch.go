package valkey

import (
	"context"
	"time"

	"github.com/redis/rueidis"
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
	for {
		spread, err := s.probe()
		if err != nil {
			s.health.failed(classify(err))
		} else {
			s.health.answered()
		}
		if spread > maxSpread && !warned {
			s.log.Warn("clocks of primaries are apart: a call may be carried out so much later than it was given up", "milliseconds", spread)
		}
		warned = spread > maxSpread
		s.health.check()
		if !s.rest() {
			return
		}
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
	return most - least, nil
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
