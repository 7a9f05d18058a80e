package main

// job is an exchange on its way, at a station.
type job struct {
	request int32
	lane    int32 // the connection that it came over
	reply   bool
}

// station is one processor, of a token server or of an engine. It works in cycles, as an event
// loop does: each takes all that waits, and what came over one connection shares its cost.
type station struct {
	waiting, current []job
	busy             bool
	down             bool
	used             float64 // microseconds
	cycles, lanes    int
	jobs             int
	stamps           []int // the last cycle in which each lane had something
	out              []group
	places           []int // in out, by station
	placed           []int // the last cycle in which each place was set
}

// group is what goes to a station together.
type group struct {
	to   int32
	jobs []job
}

func newStation(stations int) station {
	return station{stamps: make([]int, 2*stations), places: make([]int, stations), placed: make([]int, stations)}
}

// take begins a cycle, and returns false if there is nothing to do, or nobody to do it.
func (s *station) take() bool {
	if s.busy || s.down || len(s.waiting) == 0 {
		return false
	}
	s.waiting, s.current = s.current[:0], s.waiting
	s.busy = true
	s.cycles++
	s.jobs += len(s.current)
	return true
}

// isFirst says whether a lane has nothing in this cycle yet.
func (s *station) isFirst(lane int32) bool {
	if s.stamps[lane] == s.cycles {
		return false
	}
	s.stamps[lane] = s.cycles
	s.lanes++
	return true
}

// together returns how many jobs shared a lane's cost.
func (s *station) together() float64 { return float64(s.jobs) / float64(max(1, s.lanes)) }

// send puts a job with those that go to the same station at the end of the cycle.
func (s *station) send(to int32, j job) {
	if s.placed[to] != s.cycles {
		s.placed[to], s.places[to] = s.cycles, len(s.out)
		s.out = append(s.out, group{to: to})
	}
	g := &s.out[s.places[to]]
	g.jobs = append(g.jobs, j)
}
