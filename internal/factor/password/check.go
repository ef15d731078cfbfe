package password

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"
	"golang.org/x/text/unicode/norm"

	"github.com/nodauth/nod/internal/mfa"
)

// The rules for new passwords. There are none about which characters it must hold: such rules
// make passwords alike.
const (
	// MaxBytes is the greatest length of a password, in bytes of UTF-8.
	MaxBytes = 1024
	// MinAlone is the least number of characters of a password that is all the user has.
	MinAlone = 15
	// MinBeside is the least number of characters of one beside a second factor.
	MinBeside = 8

	minScore = 3 // of zxcvbn, 0 to 4: about 10^10 guesses

	// judged is how many characters zxcvbn looks at. What follows makes no password worse, and
	// its time grows faster than their number.
	judged = 100
	// minName is the length from which a part of the user's names is looked for.
	minName = 3
)

// Normalize gives every spelling of a password one form (NFC): keyboards differ in whether é is
// one character or two.
func Normalize(password string) string { return norm.NFC.String(password) }

// Check says whether password may be a user's new one. names are what the user is called: names,
// aliases, display name. It returns Invalid, with ReasonPasswordWeak where the password can be
// guessed; no message repeats any part of it.
func Check(password string, names []string, secondFactor bool) error {
	switch {
	case len(password) > MaxBytes:
		return mfa.InvalidField("password", "A password has at most %d bytes.", MaxBytes)
	case !utf8.ValidString(password):
		return mfa.InvalidField("password", "The password is not valid UTF-8.")
	case strings.ContainsFunc(password, unicode.IsControl):
		return mfa.InvalidField("password", "A password holds no control characters, such as tabs and line breaks.")
	}
	normal := Normalize(password)
	least := MinAlone
	if secondFactor {
		least = MinBeside
	}
	if utf8.RuneCountInString(normal) < least {
		if secondFactor {
			return weak("A password beside a second factor has at least %d characters.", least)
		}
		return weak("A password without a second factor has at least %d characters.", least)
	}
	folded := strings.ToLower(normal)
	if blocked(folded) {
		return weak("This password is among those that are tried first. Choose another.")
	}
	parts := nameParts(names)
	if utf8.RuneCountInString(without(folded, parts)) < MinBeside {
		return weak("The password is little more than the user's name. Choose another.")
	}
	head := normal
	if r := []rune(normal); len(r) > judged {
		head = string(r[:judged])
	}
	if zxcvbn.PasswordStrength(head, parts).Score < minScore {
		return weak("The password is easy to guess. A few unrelated words make a good one.")
	}
	return nil
}

func weak(format string, args ...any) error {
	e := mfa.Errorf(mfa.Invalid, mfa.ReasonPasswordWeak, format, args...)
	e.Field = "password"
	return e
}

// list holds passwords that are tried first, one per line in lower case, and that the length and
// zxcvbn alone may let pass.
//
//go:embed blocked.txt
var list string

// blocked looks for the password itself and for its letters and digits alone, so that
// punctuation between the words makes no new password.
func blocked(folded string) bool {
	bare := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, folded)
	for line := range strings.Lines(list) {
		if line = strings.TrimSuffix(line, "\n"); line == folded || line == bare {
			return true
		}
	}
	return false
}

// nameParts gives the names and the words that they are made of, in lower case, longest of each
// name first.
func nameParts(names []string) []string {
	var parts []string
	for _, name := range names {
		name = strings.ToLower(Normalize(name))
		words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		for _, p := range append([]string{name}, words...) {
			if utf8.RuneCountInString(p) >= minName {
				parts = append(parts, p)
			}
		}
	}
	return parts
}

func without(folded string, parts []string) string {
	for _, p := range parts {
		folded = strings.ReplaceAll(folded, p, "")
	}
	return folded
}
