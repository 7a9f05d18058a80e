// Package valkey is the shared store: sessions in Valkey or Redis, which any number of token
// servers use side by side.
//
// # Basics
//
// [Open] connects to a single engine, to one that Sentinels watch, or to a cluster. A session is
// one string under one key. Each change of it is one script, which the engine runs as a whole:
// of concurrent exchanges exactly one wins, whichever servers they come from. What a policy
// means is decided in Go, from the one reply.
//
// Every call ends within [Config].Timeout. A call that the engine has certainly not carried out
// ends with a [token.UnavailableError]; any other error but the answers of package token leaves
// its outcome unknown. What is given up is not carried out later: a deadline travels with each
// change, and the engine refuses it when that has passed.
//
// # Caveats
//
// What an answered exchange survives is what the engine is set to survive. A failover that is
// not coordinated can lose what the replica had not got, and then a spent token may come back.
//
// Contexts are looked at by a listing of all sessions alone. Byte slices that are passed in
// belong to the caller: the store copies what it keeps.
//
// Sessions that were created in a store without a grace or an absolute lifetime get both with
// their next exchange in a store that has them.
package valkey
