package protocol

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const textCap = 256 // characters, of a text without a cap of its own

// checker collects the first breach of a payload's rules.
type checker struct{ err error }

func (c *checker) want(ok bool, member, detail string) {
	if !ok && c.err == nil {
		c.err = malformed(member, detail)
	}
}

func (c *checker) version(v int) { c.want(v == Version, "v", "not 1") }

func (c *checker) id(s, member string) { c.want(validID(s), member, "not an id") }

func (c *checker) digest(s, member string) {
	c.want(validDigest(s), member, "not a SHA-256 digest in base64url")
}

// bytes wants at most high bytes, and some, in base64url.
func (c *checker) bytes(s, member string, high int) {
	b, ok := decode64(s)
	c.want(ok && len(b) >= 1 && len(b) <= high, member, "not base64url, empty or too long")
}

func (c *checker) time(ms int64, member string) {
	c.want(ms > 0, member, "not a time in milliseconds")
}

// text wants between low and high characters without any that could change how the text or
// its surroundings are shown.
func (c *checker) text(s, member string, low, high int) {
	n := utf8.RuneCountInString(s)
	c.want(n >= low && n <= high, member, "too short or too long")
	c.want(plainText(s), member, "holds control, direction or line characters")
}

func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return true
		case r == '\u061c', r == '\u200e', r == '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return true
		}
		return false
	})
}

// validID takes what every kind of id and key id has in common.
func validID(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && only(s, func(b byte) bool { return base64Char(b) })
}

func base64Char(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-'
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

func visible(b byte) bool { return b > ' ' && b < 0x7f }

func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func digits(s string, n int) bool { return len(s) == n && only(s, digit) }

func validDigest(s string) bool {
	b, ok := decode64(s)
	return ok && len(b) == 32
}

// validTicket takes the one-time secret of an enrolment, opaque to devices.
func validTicket(s string) bool { return len(s) >= 22 && len(s) <= 64 && only(s, base64Char) }

// validSecret takes 16 bytes in base64url.
func validSecret(s string) bool {
	b, ok := decode64(s)
	return ok && len(b) == 16
}

// validOrigin takes https, and http for a loopback host only.
func validOrigin(u *url.URL) bool {
	if u.Host == "" || u.User != nil || u.Opaque != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// webURL takes an absolute address that a server may post to.
func webURL(s string) bool {
	if len(s) > 2048 || !only(s, visible) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && validOrigin(u)
}

func unique(list []string) bool {
	seen := make(map[string]bool, len(list))
	for _, s := range list {
		if seen[s] {
			return false
		}
		seen[s] = true
	}
	return true
}
