// Package browsertest tests the console, and the web application of the examples, in a browser. It is a module of its own, so that
// what drives the browser is no dependency of the server.
package browsertest
