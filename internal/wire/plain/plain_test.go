package plain_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nodauth/nod/internal/wire/plain"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text       string
		text5      bool // as text of at most five characters
		name5      bool // as a name
		characters string
	}{
		{"", true, false, "none"},
		{"abcde", true, true, "five"},
		{"abcdef", false, false, "six"},
		{"äöü👩🏽", true, true, "five, of more bytes"},
		{"a b", true, true, "space between"},
		{" ab", true, false, "space before"},
		{"ab ", true, false, "space after"},
		{"a\u00a0", true, false, "unbreakable space after"},
		{"a\u200db", true, true, "joiner, as in emoji"},
		{"a\tb", false, false, "tab"},
		{"a\nb", false, false, "line feed"},
		{"a\rb", false, false, "carriage return"},
		{"a\x00b", false, false, "NUL"},
		{"a\x1bb", false, false, "escape"},
		{"a\x7fb", false, false, "delete"},
		{"a\u0085b", false, false, "next line"},
		{"a\u2028b", false, false, "line separator"},
		{"a\u2029b", false, false, "paragraph separator"},
		{"a\u202eb", false, false, "right-to-left override"},
		{"a\u2066b", false, false, "isolate"},
		{"a\u200fb", false, false, "right-to-left mark"},
		{"a\u061cb", false, false, "Arabic letter mark"},
		{"a\xffb", false, false, "not UTF-8"},
	} {
		if got := plain.Text(tc.text, 5); got != tc.text5 {
			t.Errorf("%s: text %v", tc.characters, got)
		}
		if got := plain.Name(tc.text, 5); got != tc.name5 {
			t.Errorf("%s: name %v", tc.characters, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("Payroll \u202e")
	f.Fuzz(func(t *testing.T, s string) {
		if plain.Text(s, 20) && (strings.ContainsAny(s, "\r\n\x00\u202e\u2028") || utf8.RuneCountInString(s) > 20) {
			t.Errorf("%q is accepted", s)
		}
		if plain.Name(s, 20) && !plain.Text(s, 20) {
			t.Errorf("%q is a name and no text", s)
		}
	})
}
