// Package totp makes and matches time-based one-time codes (RFC 6238, over RFC 4226). It says
// which time step a code belongs to, since a step that is not known cannot be used up.
package totp

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 4226 is HMAC-SHA-1, which is not broken by collisions
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash"
	"net/url"
	"time"
)

// Algorithm is the hash under the HMAC, as otpauth addresses name it.
type Algorithm string

// The algorithms.
const (
	SHA1   Algorithm = "SHA1"
	SHA256 Algorithm = "SHA256"
	SHA512 Algorithm = "SHA512"
)

// SeedBytes is how long a seed of this algorithm is: as long as the hash's output (RFC 4226,
// section 4, asks for 160 bits), or 0 for an unknown algorithm.
func (a Algorithm) SeedBytes() int {
	switch a {
	case SHA1:
		return sha1.Size
	case SHA256:
		return sha256.Size
	case SHA512:
		return sha512.Size
	}
	return 0
}

func (a Algorithm) hash() func() hash.Hash {
	switch a {
	case SHA256:
		return sha256.New
	case SHA512:
		return sha512.New
	case SHA1:
	}
	return sha1.New
}

// The bounds of a [Code]'s settings.
const (
	MinDigits = 6
	MaxDigits = 8
	// Skew is how many steps a clock may be behind or ahead.
	Skew = 1
)

// Code is what codes are made from.
type Code struct {
	Seed      []byte
	Algorithm Algorithm
	Digits    int           // 6 to 8
	Period    time.Duration // of one step, whole seconds
}

// Step is the number of the time step that t is in.
func (c Code) Step(t time.Time) int64 { return t.Unix() / int64(c.Period/time.Second) }

// At gives the code of a step (RFC 4226, section 5.3).
func (c Code) At(step int64) string {
	m := hmac.New(c.Algorithm.hash(), c.Seed)
	_ = binary.Write(m, binary.BigEndian, step) // a hash takes everything
	sum := m.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	n := binary.BigEndian.Uint32(sum[offset:offset+4]) & 0x7fffffff
	modulus := uint32(1)
	for range c.Digits {
		modulus *= 10
	}
	return fmt.Sprintf("%0*d", c.Digits, n%modulus)
}

// Match tells which step, at most [Skew] from the one t is in, the code is of; the newest if it
// is of several. All of them are compared each time, in constant time. A code that is not made
// of exactly as many ASCII digits matches nothing.
func (c Code) Match(code string, t time.Time) (step int64, ok bool) {
	if !Digits(code) || len(code) != c.Digits {
		return 0, false
	}
	now := c.Step(t)
	for s := now - Skew; s <= now+Skew; s++ {
		if subtle.ConstantTimeCompare([]byte(c.At(s)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// Digits tells whether code is six to eight ASCII digits and nothing else. What is not is refused
// before anything is made of it, never repaired: " 123456" would be counted as another code and
// then accepted as the same.
func Digits(code string) bool {
	if len(code) < MinDigits || len(code) > MaxDigits {
		return false
	}
	for _, b := range []byte(code) {
		if b < '0' || b > '9' {
			return false
		}
	}
	return true
}

// Base32 gives the seed as people and programs take it: upper-case base32 without padding.
func (c Code) Base32() string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(c.Seed)
}

// URI gives the otpauth address that authenticator programs scan. It holds the seed.
func (c Code) URI(issuer, account string) string {
	q := url.Values{
		"secret":    {c.Base32()},
		"algorithm": {string(c.Algorithm)},
		"digits":    {fmt.Sprint(c.Digits)},
		"period":    {fmt.Sprint(int64(c.Period / time.Second))},
	}
	label := url.PathEscape(account)
	if issuer != "" {
		q.Set("issuer", issuer)
		label = url.PathEscape(issuer) + ":" + label
	}
	// Several programs show the plus of a form's space as it is.
	return "otpauth://totp/" + label + "?" + plusless(q.Encode())
}

func plusless(query string) string {
	out := make([]byte, 0, len(query))
	for _, b := range []byte(query) {
		if b == '+' {
			out = append(out, "%20"...)
		} else {
			out = append(out, b)
		}
	}
	return string(out)
}
