// Package username gives every spelling of a user's name one canonical form.
//
// Keys, counters, locks and look-ups see only the canonical form, so that "Alice",
// "ALICE" and the same name in full-width letters share one lock and one budget. The form
// is NFKC_Casefold (Unicode, section 3.13), repeated until nothing changes. A name that holds
// what a name must not hold is refused and never repaired, since a repaired name may be
// somebody else's.
package username

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// MaxBytes is the greatest length of a name in bytes of UTF-8, as sent and as canonical.
const MaxBytes = 255

// Error says why a name was refused. Its text names no part of the name.
type Error string

// The reasons to refuse a name.
const (
	// Empty is a name of no characters, or of none that count.
	Empty Error = "user name is empty"
	// TooLong is a name of more than [MaxBytes] bytes.
	TooLong Error = "user name is longer than 255 bytes"
	// Encoding is a name that is not UTF-8.
	Encoding Error = "user name is not valid UTF-8"
	// Character is a name with white space, a control, format, private or unassigned
	// character, or one of / \ | # " < >, also where only the canonical form has it.
	Character Error = "user name holds a character that is not allowed"
	// UnknownForm is a [Form] that is none of the named ones.
	UnknownForm Error = "user name form is unknown"
)

// Error gives the reason.
func (e Error) Error() string { return string(e) }

// refused are the printable characters that no name may hold: they separate or quote in
// paths, domains, tickets and pages.
const refused = `/\|#"<>`

// maxRounds is far more than any name needs; two are the most that Unicode's data ask for.
const maxRounds = 8

// Canonical gives the canonical form of s, or an [Error]. It is idempotent: the canonical
// form of a canonical form is itself.
func Canonical(s string) (string, error) { return canonical(s, refused, whole) }

func whole(s string) string { return s }

// canonical folds s, takes the wanted part of it, and checks that part. What is refused in
// the whole is given by the caller, as the backslash stands in a name with its domain.
func canonical(s, refusedInWhole string, part func(string) string) (string, error) {
	if err := check(s, refusedInWhole); err != nil {
		return "", err
	}
	folded, err := fold(s)
	if err != nil {
		return "", err
	}
	// The parts are taken from the folded name: a full-width @ or backslash is one too.
	out, err := fold(part(folded))
	if err != nil {
		return "", err
	}
	if err := check(out, refused); err != nil {
		return "", err
	}
	return out, nil
}

func check(s, bad string) error {
	switch {
	case s == "":
		return Empty
	case len(s) > MaxBytes:
		return TooLong
	case !utf8.ValidString(s):
		return Encoding
	}
	for _, r := range s {
		// unicode.C holds controls, formats, private, surrogate and unassigned code points.
		if unicode.In(r, unicode.C, unicode.Z, unicode.White_Space) || strings.ContainsRune(bad, r) {
			return Character
		}
	}
	return nil
}

// fold repeats one round of NFKC_Casefold until it changes nothing.
func fold(s string) (string, error) {
	if isASCII(s) {
		return strings.ToLower(s), nil
	}
	folder := cases.Fold()
	for range maxRounds {
		// Decomposing first makes canonically equal spellings equal before U+0345, a mark
		// that sorts last, becomes a letter. Taking out what is ignorable can bring marks
		// together, which the next round orders.
		next := norm.NFKC.String(strings.Map(withoutIgnorable, foldCase(folder, norm.NFD.String(s))))
		if next == s {
			return s, nil
		}
		s = next
	}
	return "", Character
}

// foldCase is folder.String, with Cherokee done here: Unicode folds it to its capitals, and
// the library's folder turns these into small letters and back without end.
func foldCase(folder cases.Caser, s string) string {
	start := strings.IndexFunc(s, isCherokee)
	if start < 0 {
		return folder.String(s)
	}
	end := start + strings.IndexFunc(s[start:]+".", isNotCherokee)
	return folder.String(s[:start]) + strings.Map(unicode.ToUpper, s[start:end]) + foldCase(folder, s[end:])
}

func isCherokee(r rune) bool    { return unicode.Is(unicode.Cherokee, r) }
func isNotCherokee(r rune) bool { return !isCherokee(r) }

// withoutIgnorable takes out the default-ignorable code points that are not of category
// format (variation selectors, fillers, the grapheme joiner); those of it are refused.
func withoutIgnorable(r rune) rune {
	if unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
		return -1
	}
	return r
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
