package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
)

// Names of the sockets that a service manager may have ready, as its FileDescriptorName=
// has them.
const (
	httpSockets  = "http"  // instead of the addresses
	adminSockets = "admin" // instead of the admin address
)

// inherited are listeners that a service manager has opened, and keeps open over a restart.
type inherited struct {
	http, admin []net.Listener
}

// inherit takes over the sockets that the process has got (LISTEN_FDS). One on which nobody
// would answer is an error.
func inherit() (in inherited, err error) {
	if os.Getenv("LISTEN_FDS") == "" {
		return in, nil
	}
	for _, file := range activation.Files(true) {
		err = errors.Join(err, in.add(file))
	}
	if err != nil {
		in.close()
	}
	return in, err
}

// add takes over a socket.
func (in *inherited) add(file *os.File) error {
	name := file.Name()
	ln, err := net.FileListener(file)
	file.Close()
	switch {
	case err != nil:
		return fmt.Errorf("socket %q of the service manager: %w", name, err)
	case name == httpSockets:
		in.http = append(in.http, ln)
	case name == adminSockets:
		in.admin = append(in.admin, ln)
	default:
		ln.Close()
		return fmt.Errorf("socket %q of the service manager: its name must be %s or %s (FileDescriptorName=)", name, httpSockets, adminSockets)
	}
	return nil
}

func (in *inherited) close() {
	for _, ln := range slices.Concat(in.http, in.admin) {
		ln.Close()
	}
}
