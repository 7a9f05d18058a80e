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
			for range f.items {
				primary := int32(f.servers + f.rng.IntN(f.primaries))
				if s.isFirst(primary) {
					took += f.cost(c.serverWrite) / 2
				}
				s.send(primary, job{request: j.request, lane: at})
			}
			continue
		}
		if s.isFirst(j.lane + int32(len(f.stations))) { // a read, beside the writes
			took += f.cost(c.serverWrite) / 2
		}
		took += f.cost(c.serverExchange) / 2
		f.reply(j.request, &took)
	}
	return took
}

// reply takes in a reply to one of a request's exchanges, and answers if it is the last.
func (f *fleet) reply(id int32, took *float64) {
	r := &f.requests[id]
	r.left--
	if !r.dropped {
		f.failing[r.server] = false
	}
	if r.left > 0 {
		return
	}
	if !r.dropped {
		*took += f.cost(f.costs.serverRequest) / 2
		f.inFlight[r.server]--
		f.result.answer(r.begun, f.now+*took)
	}
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
