package main

// cycle begins a cycle of a station, if there is something to do.
func (f *fleet) cycle(at int32) {
	s := &f.stations[at]
	if !s.take() {
		return
	}
	var took float64
	if int(at) < f.servers {
		took = f.serverCycle(s, at)
	} else {
		took = f.engineCycle(s, at)
	}
	s.used += took
	f.at(f.now+took, event{kind: cycleEnd, station: at})
}

// engineCycle carries out what came. All replies leave at its end.
func (f *fleet) engineCycle(s *station, at int32) (took float64) {
	for _, j := range s.current {
		if s.isFirst(j.lane) {
			took += f.cost(f.costs.engineRead)
		}
		took += f.cost(f.costs.engineExchange)
		s.send(j.lane, job{request: j.request, lane: at, reply: true})
	}
	return took
}

// serverCycle reads requests, answers those whose exchanges are complete, and gathers what goes
// to each primary, which leaves at its end.
func (f *fleet) serverCycle(s *station, at int32) (took float64) {
	c := &f.costs
	for _, j := range s.current {
		if !j.reply {
			took += f.cost(c.serverRequest)/2 + f.cost(c.serverExchange)*float64(f.items)/2
			f.send(s, at, j.request, &took)
			continue
		}
		if s.isFirst(j.lane + int32(len(f.stations))) { // a read, beside the writes
			took += f.cost(c.serverWrite) / 2
		}
		took += f.cost(c.serverExchange) / 2
		f.reply(j, &took)
	}
	return took
}

// send sends a request's exchanges to their primaries, but to those at which too many are under
// way.
func (f *fleet) send(s *station, at, id int32, took *float64) {
	r := &f.requests[id]
	for range f.items {
		primary := int32(f.servers + f.rng.IntN(f.primaries))
		if !f.enter(r, primary) {
			r.left--
			continue
		}
		if s.isFirst(primary) {
			*took += f.cost(f.costs.serverWrite) / 2
		}
		s.send(primary, job{request: id, lane: at})
	}
	if r.left == 0 {
		f.end(id, took)
	}
}

// reply takes in a reply to one of a request's exchanges, and answers if it is the last.
func (f *fleet) reply(j job, took *float64) {
	r := &f.requests[j.request]
	r.left--
	if !r.dropped {
		f.bulkhead(r.server, j.lane).failing = false
	}
	if r.left == 0 {
		f.end(j.request, took)
	}
}

// end answers a request, unless it was given up.
func (f *fleet) end(id int32, took *float64) {
	r := &f.requests[id]
	switch {
	case r.dropped:
	case r.refused:
		f.result.refuse(f.now + *took)
	default:
		*took += f.cost(f.costs.serverRequest) / 2
		f.result.answer(r.begun, f.now+*took)
	}
	f.leave(r)
	if f.callers > 0 {
		f.at(f.now+*took, event{kind: arrival})
	}
	f.free = append(f.free, id)
}

// endCycle sends what a cycle has made.
func (f *fleet) endCycle(at int32) {
	s := &f.stations[at]
	s.busy = false
	for _, g := range s.out {
		f.at(f.now+network, event{kind: delivery, station: g.to, jobs: g.jobs})
	}
	clear(s.out)
	s.out = s.out[:0]
}
