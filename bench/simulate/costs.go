package main

// costs are what the parts of an exchange take, in microseconds of one processor.
type costs struct {
	engineExchange float64 // a script in the engine
	engineRead     float64 // in the engine, a connection's read and write, for all that comes together
	serverRequest  float64 // a request over HTTP, its read and write
	serverExchange float64 // an exchange in the token server
	serverWrite    float64 // in the token server, an engine's write and read, for all that travels together
}

// figures are what was measured: microseconds of a processor an exchange, each on a processor of
// its own, and a rate.
type figures struct {
	engineAlone, engineTogether float64 // the engine's, of one caller, and of batches
	storeAlone, storeTogether   float64 // the store's with its callers, the same
	serverAlone, serverTogether float64 // the token server's, over HTTP at 64 connections, and in batches
	engineHTTP                  float64 // the engine's, at 64 connections
	// callers64 is how many exchanges a second the store makes on one engine at 64 callers: the
	// point that the simulation has to reproduce.
	callers64 float64
}

// measured is the median of three rounds, in bench/results/2026-11-28-shared.txt, on
// redis-server 7.0.15. BenchmarkOneEngine measures the first four and the last anew.
var measured = figures{
	engineAlone: 54.15, engineTogether: 16.53,
	storeAlone: 63.02, storeTogether: 6.65,
	serverAlone: 43.82, serverTogether: 9.29, engineHTTP: 29.41,
	callers64: 50_748,
}

// batch is how many exchanges travel together in the figures.
const batch = 64

// costs takes the figures apart: what is done once for all that travels together, and what is
// done for each.
func (f figures) costs() costs {
	c := costs{}
	c.engineExchange, c.engineRead = apart(f.engineAlone, f.engineTogether)
	_, c.serverWrite = apart(f.storeAlone, f.storeTogether)
	// Over HTTP a few travel together; how many, the engine's time tells.
	_, c.serverRequest = apart(f.serverAlone-c.serverWrite/f.together(c), f.serverTogether-c.serverWrite/batch)
	c.serverExchange = f.serverTogether - (c.serverRequest+c.serverWrite)/batch
	return c
}

// together returns how many exchanges the engine read together at 64 connections.
func (f figures) together(c costs) float64 { return c.engineRead / (f.engineHTTP - c.engineExchange) }

// apart solves each + once = alone and each + once/batch = together.
func apart(alone, together float64) (each, once float64) {
	once = (alone - together) * batch / (batch - 1)
	return alone - once, once
}

// simulate64 returns how many exchanges a second the simulation makes with these figures where
// callers64 was measured: 64 callers of the store, without HTTP, and one engine.
func (f figures) simulate64() float64 {
	c := config{costs: f.costs(), servers: 1, primaries: 1, callers: 64, items: 1, warmUp: 100_000, duration: 1_000_000, seed: 1}
	c.costs.serverRequest = 0
	return float64(len(c.run().samples)) / c.duration * 1e6
}
