package main

import "container/heap"

// kind is what happens.
type kind uint8

const (
	arrival  kind = iota // a request comes to a token server
	cycleEnd             // a station has done what it took
	delivery             // jobs come to a station
	timeout              // a request is given up
	failure              // a primary stops
	recovery             // it, or its replica, goes on
)

// event is what happens at a time, in microseconds.
type event struct {
	at      float64
	order   int64 // of events at the same time
	kind    kind
	station int32
	request int32
	jobs    []job
}

// events is a heap, the next one first.
type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return e[i].order < e[j].order
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return last
}

// at adds an event.
func (f *fleet) at(time float64, e event) {
	f.added++
	e.at, e.order = time, f.added
	heap.Push(&f.events, e)
}
