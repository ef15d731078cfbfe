package secret

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
)

// idBits is the entropy of an ID: 26 base32 characters of five bits each.
const idBits = 130

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Random gives n bytes from the system's generator. It never fails: a system that cannot
// give random bytes ends the process (crypto/rand since Go 1.24).
func Random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// ID gives prefix and 26 lower-case base32 characters (RFC 4648 alphabet a-z2-7) that hold
// 130 random bits, such as "ch_" with 26 characters after it.
func ID(prefix string) string { return Token(prefix, idBits) }

// Token gives prefix and the fewest lower-case base32 characters that hold at least bits
// random bits. It panics if bits is not positive: that is a bug of the caller.
func Token(prefix string, bits int) string {
	if bits <= 0 {
		panic("secret: token without bits")
	}
	chars := (bits + 4) / 5
	// Each character is five whole bits of the stream, so a cut leaves uniform characters.
	return prefix + lowerBase32.EncodeToString(Random((chars*5 + 7) / 8))[:chars]
}

// Base64 gives n random bytes as base64url without padding.
func Base64(n int) string { return base64.RawURLEncoding.EncodeToString(Random(n)) }

// Digits gives n decimal digits, each uniform and independent of the others. It panics if
// n is not positive: that is a bug of the caller.
func Digits(n int) string {
	if n <= 0 {
		panic("secret: no digits asked for")
	}
	out := make([]byte, 0, n)
	for len(out) < n {
		for _, b := range Random(2 * (n - len(out))) {
			// 250 is the greatest multiple of ten in a byte; the rest would favour 0 to 5.
			if b < 250 && len(out) < n {
				out = append(out, '0'+b%10)
			}
		}
	}
	return string(out)
}

// IsID tells whether s has the form that [ID] gives for prefix.
func IsID(prefix, s string) bool {
	if len(s) != len(prefix)+(idBits+4)/5 || s[:len(prefix)] != prefix {
		return false
	}
	for _, c := range []byte(s[len(prefix):]) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}
