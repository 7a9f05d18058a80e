// Package sampler looks at the server once a second, and keeps the history of what it has
// seen, whoever looks at that.
//
// # Basics
//
// [New] starts the one goroutine that takes samples. [Sampler.Latest] returns the last
// [Sample], [Sampler.Next] a channel that is closed with the next one, and
// [Sampler.History] a [Span] of what was, by [Series]. All memory is there from the
// beginning on: two hours of seconds, and a day of minutes.
//
// A Sample is also what /stats answers in JSON. Rates in it are those of the last
// second, or as its fields say.
//
// # Caveats
//
// A Sample and its slices belong to everybody: nobody may change them. What the functions
// of [Config] take is time between two samples: after a second that had none there is a
// gap in the history.
package sampler
