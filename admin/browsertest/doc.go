// Package browsertest tests the console in a browser. It is a module of its own, so that
// what drives the browser is no dependency of the server.
package browsertest
