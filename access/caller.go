package access

// Role is what a caller may do. Roles can be combined.
type Role uint8

// Roles.
const (
	Tokens  Role = 1 << iota // tokens and subjects
	Metrics                  // the metrics of the admin listener, and nothing else
	Admin                    // everything
)

// Caller is somebody who may call. The zero Caller is nobody.
type Caller struct {
	// Name is for the log. It may be empty for a certificate without one.
	Name  string
	Roles Role
}

// Known says whether c is anybody.
func (c Caller) Known() bool { return c.Roles != 0 }

// May says whether c has a role, or that of an admin.
func (c Caller) May(r Role) bool { return c.Roles&(r|Admin) != 0 }
