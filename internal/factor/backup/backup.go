// Package backup makes and reads backup codes. A code is a visible index and 80 random bits,
// written as 3-abcd-efgh-ijkl-mnop: the index says which stored hash to compare with, so that one
// guess costs one hash.
package backup

import (
	"strconv"
	"strings"

	"github.com/nodauth/nod/internal/secret"
)

// Count is how many codes are made together. Their indexes are 1 to Count.
const Count = 10

const (
	bits   = 80
	groups = 4
	size   = 4 // characters of a group
)

// Make gives the code for an index, as it is shown.
func Make(index int) string {
	random := secret.Token("", bits)
	code := strconv.Itoa(index)
	for i := range groups {
		code += "-" + random[i*size:(i+1)*size]
	}
	return code
}

// Parse reads a code exactly as it is shown, in lower or upper case: index and groups joined by
// hyphens, nothing before, between or after them. It gives the index and the code in lower case,
// which is what is hashed.
func Parse(code string) (index int, canonical string, ok bool) {
	if len(code) > len("10")+groups*(1+size) {
		return 0, "", false
	}
	parts := strings.Split(lowerASCII(code), "-")
	if len(parts) != 1+groups {
		return 0, "", false
	}
	index, err := strconv.Atoi(parts[0])
	if err != nil || index < 1 || index > Count || strconv.Itoa(index) != parts[0] {
		return 0, "", false
	}
	for _, p := range parts[1:] {
		if len(p) != size || strings.ContainsFunc(p, notBase32) {
			return 0, "", false
		}
	}
	return index, strings.Join(parts, "-"), true
}

// lowerASCII leaves all but A to Z alone: some letters beyond ASCII are lower-cased into it.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func notBase32(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') }
