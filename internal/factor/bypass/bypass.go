// Package bypass makes and reads bypass codes: sixteen digits in groups of four, 53 bits, that a
// help desk reads to a person over the telephone.
package bypass

import (
	"strings"

	"github.com/nodauth/nod/internal/secret"
)

const (
	digits = 16
	size   = 4 // digits of a group
)

// Make gives a code as it is shown, such as 0417-9925-3380-1206.
func Make() string { return grouped(secret.Digits(digits)) }

// Parse reads a code as it is shown, or its sixteen digits without the hyphens, and nothing else.
// It gives the code as it is shown, which is what is hashed.
func Parse(code string) (canonical string, ok bool) {
	if len(code) > digits+digits/size-1 {
		return "", false
	}
	bare := strings.ReplaceAll(code, "-", "")
	if len(bare) != digits || strings.ContainsFunc(bare, notDigit) {
		return "", false
	}
	canonical = grouped(bare)
	return canonical, code == canonical || code == bare
}

func grouped(bare string) string {
	parts := make([]string, 0, digits/size)
	for i := 0; i < digits; i += size {
		parts = append(parts, bare[i:i+size])
	}
	return strings.Join(parts, "-")
}

func notDigit(r rune) bool { return r < '0' || r > '9' }
