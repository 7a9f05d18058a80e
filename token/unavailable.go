package token

// UnavailableError says that a store can't carry out a call at present, and that
// nothing of this call was carried out: it may be repeated, the token is unspent.
// Any other failure of a store leaves the outcome unknown.
type UnavailableError struct {
	// Reason is for a person, such as "loading: 43 %". Nothing of the call is in it.
	Reason string
}

// Error implements error.
func (e *UnavailableError) Error() string { return "token: store is unavailable: " + e.Reason }
