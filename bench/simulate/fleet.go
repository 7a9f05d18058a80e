package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"

	"tokenserver/valkey"
)

// config describes a fleet and its load. Times are in microseconds.
type config struct {
	costs     costs
	servers   int // token servers, of one processor each
	primaries int
	rate      float64 // requests a second, at random times; 0 for callers
	callers   int     // each makes a request when the one before is answered
	items     int     // exchanges of a request
	warmUp    float64
	duration  float64 // of the measurement
	seed      uint64
	down      float64 // how long one primary is away, from the begin of the measurement on
	timeout   float64 // of a request; 0 for none
}

// network is how many microseconds it is from a token server to an engine, or back.
const network = 50

// request is one from its arrival to its answer.
type request struct {
	begun   float64
	server  int32
	left    int32   // exchanges without a reply
	entered []int32 // the primaries at which it counts
	refused bool    // at one of its primaries at least
	dropped bool
}

// bulkhead is what a token server knows of a primary.
type bulkhead struct {
	inFlight int
	failing  bool
}

// fleet is a run.
type fleet struct {
	config
	rng       *rand.Rand
	now       float64
	events    events
	added     int64
	stations  []station // servers, then primaries
	requests  []request
	free      []int32
	bulkheads []bulkhead // by server and primary
	result    result
	beginning []float64 // what stations had used when the measurement began
}

func newFleet(c config) *fleet {
	f := &fleet{config: c, rng: rand.New(rand.NewPCG(c.seed, 1))}
	f.stations = make([]station, c.servers+c.primaries)
	for i := range f.stations {
		f.stations[i] = newStation(len(f.stations))
	}
	f.bulkheads = make([]bulkhead, c.servers*c.primaries)
	return f
}

// run simulates, and returns what was measured.
func (c config) run() *result {
	f := newFleet(c)
	end := c.warmUp + c.duration
	if c.callers > 0 {
		for range c.callers {
			f.at(f.rng.Float64()*100, event{kind: arrival})
		}
	} else {
		f.at(f.pause(), event{kind: arrival})
	}
	if c.down > 0 {
		f.at(c.warmUp, event{kind: failure, station: int32(c.servers)})
		f.at(c.warmUp+c.down, event{kind: recovery, station: int32(c.servers)})
	}
	for len(f.events) > 0 {
		e := heap.Pop(&f.events).(event)
		if e.at > end {
			break
		}
		if f.beginning == nil && e.at >= c.warmUp {
			f.begin()
		}
		f.now = e.at
		f.happen(&e)
	}
	f.finish()
	return &f.result
}

// pause returns the time until the next request.
func (f *fleet) pause() float64 { return f.rng.ExpFloat64() * 1e6 / f.rate }

func (f *fleet) happen(e *event) {
	switch e.kind {
	case arrival:
		if f.callers == 0 {
			f.at(f.now+f.pause(), event{kind: arrival})
		}
		f.arrive()
	case delivery:
		s := &f.stations[e.station]
		s.waiting = append(s.waiting, e.jobs...)
		f.guard(e.station, e.jobs)
		f.cycle(e.station)
	case cycleEnd:
		f.endCycle(e.station)
		f.cycle(e.station)
	case timeout:
		f.giveUp(e.request)
	case failure:
		s := &f.stations[e.station]
		s.down = true
		f.guard(e.station, s.waiting)
	case recovery:
		f.recover(e.station)
	}
}

// arrive takes in a request at any of the token servers.
func (f *fleet) arrive() {
	server := int32(f.rng.IntN(f.servers))
	id := f.newRequest()
	r := &f.requests[id]
	*r = request{begun: f.now, server: server, left: int32(f.items), entered: r.entered[:0]}
	s := &f.stations[server]
	s.waiting = append(s.waiting, job{request: id})
	f.cycle(server)
}

func (f *fleet) newRequest() int32 {
	if n := len(f.free); n > 0 {
		id := f.free[n-1]
		f.free = f.free[:n-1]
		return id
	}
	f.requests = append(f.requests, request{})
	return int32(len(f.requests) - 1)
}

// bulkhead returns what a token server knows of a primary, by their stations.
func (f *fleet) bulkhead(server, primary int32) *bulkhead {
	return &f.bulkheads[int(server)*f.primaries+int(primary)-f.servers]
}

// enter counts a request at a primary, and returns false if too many are under way there.
func (f *fleet) enter(r *request, primary int32) bool {
	if slices.Contains(r.entered, primary) {
		return true
	}
	b := f.bulkhead(r.server, primary)
	if b.inFlight >= valkey.MaxInFlight || b.inFlight >= valkey.MaxInFlightFailing && b.failing {
		r.refused = true
		return false
	}
	b.inFlight++
	r.entered = append(r.entered, primary)
	return true
}

// leave ends what enter has begun.
func (f *fleet) leave(r *request) {
	for _, primary := range r.entered {
		f.bulkhead(r.server, primary).inFlight--
	}
	r.entered = r.entered[:0]
}

// guard gives up what waits too long for a primary that is away.
func (f *fleet) guard(at int32, jobs []job) {
	if !f.stations[at].down || f.timeout == 0 {
		return
	}
	for _, j := range jobs {
		f.at(max(f.now, f.requests[j.request].begun+f.timeout), event{kind: timeout, request: j.request})
	}
}

func (f *fleet) giveUp(id int32) {
	r := &f.requests[id]
	if r.dropped || r.left == 0 || f.now < r.begun+f.timeout {
		return // it is over, and the place may be another one's
	}
	r.dropped = true
	for _, primary := range r.entered {
		if f.stations[primary].down {
			f.bulkhead(r.server, primary).failing = true
		}
	}
	f.leave(r)
	f.result.refuse(f.now)
}

// recover has a primary go on, with what has not been given up meanwhile.
func (f *fleet) recover(at int32) {
	s := &f.stations[at]
	s.down = false
	left := s.waiting[:0]
	for _, j := range s.waiting {
		r := &f.requests[j.request]
		if !r.dropped {
			left = append(left, j)
		} else if r.left--; r.left == 0 {
			f.free = append(f.free, j.request)
		}
	}
	s.waiting = left
	f.cycle(at)
}

// begin begins the measurement.
func (f *fleet) begin() {
	f.result.from = f.warmUp
	f.beginning = make([]float64, len(f.stations))
	for i := range f.stations {
		s := &f.stations[i]
		f.beginning[i] = s.used
		s.jobs, s.lanes = 0, 0
	}
	f.result.samples, f.result.refused = f.result.samples[:0], f.result.refused[:0]
}

// finish tells how busy the stations were.
func (f *fleet) finish() {
	for i := range f.stations {
		s := &f.stations[i]
		busy := (s.used - f.beginning[i]) / f.duration
		if i < f.servers {
			f.result.serversBusy += busy / float64(f.servers)
			continue
		}
		f.result.enginesBusy += busy / float64(f.primaries)
		f.result.together += s.together() / float64(f.primaries)
	}
}

// cost returns how long something takes this time: half of its mean at least.
func (f *fleet) cost(mean float64) float64 { return mean * (1 + f.rng.ExpFloat64()) / 2 }
