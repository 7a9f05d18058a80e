package main

import "runtime"

// addProcessor lets the runtime run goroutines on one thread more than there are
// processors, unless GOMAXPROCS is set.
//
// With --fsync=always one thread is waiting in a sync for half of the time. The
// runtime would take its place for another goroutine only after some 20 µs, which
// it finds out by looking every 20 µs: on two processors that is a tenth of all
// processor time. With a place to spare, which costs nothing while there is
// nothing to run, it has no reason to look.
//
// The price is that the runtime does not adapt any more to a limit of the
// container that is changed while the server runs.
func addProcessor(getenv func(string) string) {
	if getenv("GOMAXPROCS") != "" {
		return
	}
	runtime.SetDefaultGOMAXPROCS() // so that it is one more, however often this is called
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
}
