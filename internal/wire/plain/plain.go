// Package plain knows which text may be shown beside other text: names, reasons, labels.
package plain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text tells whether s is at most so many characters of valid UTF-8, none of which could change
// how it or its surroundings are shown: no controls, line breaks or directions of writing.
func Text(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
		})
}

// Name tells whether s can name something: text that is not empty and does not begin or end with
// white space.
func Name(s string, most int) bool {
	return s != "" && strings.TrimSpace(s) == s && Text(s, most)
}
