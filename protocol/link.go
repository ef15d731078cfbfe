package protocol

import (
	"net/url"
	"strings"
)

// TicketLink is an enrolment link, https://HOST/enrol#TICKET.PIN.
type TicketLink struct {
	// Origin is scheme and host, such as https://login.example.com.
	Origin string
	// Ticket is the one-time secret.
	Ticket string
	// PIN is the KeyPIN of the realm's key set.
	PIN string
}

// ParseTicketLink reads an enrolment link. It returns ErrMalformed for anything else, and for
// plain http to a host that is not loopback.
func ParseTicketLink(link string) (TicketLink, error) {
	bad := func(detail string) (TicketLink, error) { return TicketLink{}, malformed("", detail) }
	if len(link) > 1024 || !only(link, visible) {
		return bad("not an enrolment link")
	}
	address, fragment, ok := strings.Cut(link, "#")
	if !ok {
		return bad("an enrolment link has a # with ticket and PIN behind it")
	}
	u, err := url.Parse(address)
	if err != nil || u.Path != "/enrol" || u.RawQuery != "" || u.ForceQuery {
		return bad("an enrolment link has the path /enrol")
	}
	if !validOrigin(u) {
		return bad("an enrolment link is https, or http to this machine")
	}
	ticket, pin, _ := strings.Cut(fragment, ".")
	if !validTicket(ticket) || !validSecret(pin) {
		return bad("ticket or PIN of the enrolment link are cut short or changed")
	}
	l := TicketLink{Origin: u.Scheme + "://" + u.Host, Ticket: ticket, PIN: pin}
	if l.String() != link {
		return bad("not an enrolment link as nod writes it")
	}
	return l, nil
}

// String is the link.
func (l TicketLink) String() string { return l.Origin + "/enrol#" + l.Ticket + "." + l.PIN }

const scanPrefix = "NOD1:"

// Scan is the text of the QR on a login page, NOD1:CHALLENGE.SECRET. It is not a link on
// purpose: a link can be sent, and one tap on it would count as a scan.
type Scan struct {
	Challenge string
	Secret    string // the answer of the match kind scan
}

// ParseScan reads a scanned text. It returns ErrMalformed for anything else, and above all for
// every link; only text from the authenticator's own camera or typed by a person may be given.
func ParseScan(text string) (Scan, error) {
	rest, ok := strings.CutPrefix(text, scanPrefix)
	if !ok {
		return Scan{}, malformed("", "not the code of a login page; links are never taken")
	}
	challenge, secret, _ := strings.Cut(rest, ".")
	if !validID(challenge) || !validSecret(secret) {
		return Scan{}, malformed("", "the code of the login page is cut short or changed")
	}
	return Scan{Challenge: challenge, Secret: secret}, nil
}

// String is the text of the QR.
func (s Scan) String() string { return scanPrefix + s.Challenge + "." + s.Secret }
