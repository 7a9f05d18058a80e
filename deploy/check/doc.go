// Package check checks what is in deploy by the tools that it is for. It has tests alone.
//
// # Basics
//
// It is a module of its own, so that the server's takes in nothing of Kubernetes, Compose
// or packagers. The tests run on Linux, with Debian's systemd, dpkg, nginx, Prometheus and
// Redis; they are skipped where one is not installed. Where a file has flags or variables
// of the server, a server is started with them.
package check
