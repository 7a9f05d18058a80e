// Package enginetest starts real engines for tests of shared mode: redis-server processes
// on free loopback ports, each with a folder of its own.
//
// # Basics
//
// [Start] starts one engine, [StartCluster] a cluster and [StartSentinels] one with a replica
// and Sentinels. All of them live until the end of the test, and are stopped by their process
// id.
//
// A test that lacks redis-server or redis-cli is skipped: see package testneeds.
package enginetest
