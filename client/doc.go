// Package client talks to a token server from Go, and lets calls that are made at
// the same time travel together.
//
// # Basics
//
// [New] makes a [Client], which is kept and shared: any number of goroutines may call
// it at once. A call that is alone leaves at once, as the plain request. Calls that are
// made while others are under way gather, and leave together, as a batch, as soon as
// one of those has its answer. So the client sends few requests however many calls
// there are, and nobody waits for a timer.
//
// Errors are matched with [errors.Is]. [ErrInvalidToken] sends a user to the login
// page. [ErrUnavailable] says that nothing was carried out, also in vain until the
// deadline; what may be repeated has been repeated by then. [ErrOutcomeUnknown] says
// that it may or may not have been carried out. An [*Error] has the details.
//
// With several addresses a request goes to the one with the fewest under way of those
// that answer /readyz; they take turns if there are as few.
// Several servers are one only in shared mode. The client compares the identity of
// their stores, on each new connection too, and refuses those that differ while they
// are up at the same time with [ErrStoresDiffer]. When the servers of the store in use
// are away for a second and a half, those of another one are taken.
//
// # Caveats
//
// An exchange is never sent twice by itself. If its answer is lost it ends with
// [ErrOutcomeUnknown], and its token may be spent. If the servers have a --grace,
// RetryUnknown of [Config] presents the same token again, which is safe then and only
// then: the answer is the same new token, with Reused set.
//
// A call ends at the deadline of its context, and at once when that is canceled. A
// request that it was part of goes on for the other calls. A call whose context has no
// deadline ends after [Config].Timeout.
//
// Nothing is atomic over calls. Calls with tokens of one session that are made at the
// same time are carried out in any order.
//
// A server that drains, or whose store can't be relied on, gets no calls. What a call
// returns is the caller's own, and so is what is passed in once the call has returned.
package client
