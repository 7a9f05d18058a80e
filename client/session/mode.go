package session

import (
	"net/http"
	"strings"
)

// Mode says which requests exchange their token. The others look at it, which spends
// and renews nothing.
type Mode int

const (
	// EveryRequest has each request exchange its token.
	EveryRequest Mode = iota
	// Navigations has those exchange their token that load a page, and not those of
	// its scripts, images and styles. What a handler sets is kept by an exchange.
	Navigations
	// EveryInterval has a request exchange its token if that is as old as
	// Manager.Interval. The member RenewedMember of the metadata says since when it is
	// there.
	EveryInterval
)

// Names of members of the metadata that are not for [Set] and [Unset].
const (
	// SubjectMember has the subject that [Login] was given.
	SubjectMember = "subject"
	// RenewedMember has the time of the last exchange under [EveryInterval], in seconds
	// since 1970.
	RenewedMember = "renewed"
)

// navigates says whether a request loads a page.
func navigates(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "document", "iframe", "frame":
		return true
	case "": // of an old browser, or not on https
		return strings.Contains(r.Header.Get("Accept"), "text/html")
	}
	return false
}

// scripted says whether a request is one of a script or a part of a page, to which a
// login page is no answer.
func scripted(r *http.Request) bool {
	switch {
	case r.Header.Get("Sec-Fetch-Dest") != "":
		return !navigates(r)
	case strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest"):
		return true
	}
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "json") && !strings.Contains(accept, "text/html")
}
