// Package access knows who may call the server: callers with secrets, callers with
// certificates, and what each of them may do.
//
// # Basics
//
// A [Caller] has a name and roles. [ParseSecrets] reads the callers of an auth file,
// and [ParseAuthorities] the certificate authorities whose certificates make callers.
// A [Guard] has both, finds the caller of a request, and makes those wait who are not
// found. [TLS] makes the settings of listeners. What a Guard and a TLS have can be
// replaced while they are in use.
//
// # Caveats
//
// Secrets are compared in constant time, and only their SHA-256 is kept. There is no
// salt and no stretching: a secret has to be random, as [NewSecret] makes it.
//
// A certificate is checked with the handshake, and again when the authorities were
// replaced. One that expires later goes on to work on the connections that it has.
package access
