package bypass_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/factor/bypass"
)

var shown = regexp.MustCompile(`^[0-9]{4}(-[0-9]{4}){3}$`)

func TestMake(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		code := bypass.Make()
		if !shown.MatchString(code) || seen[code] {
			t.Fatalf("code %s", code)
		}
		seen[code] = true
		for _, typed := range []string{code, strings.ReplaceAll(code, "-", "")} {
			if canonical, ok := bypass.Parse(typed); !ok || canonical != code {
				t.Fatalf("%s is read as %s, %v", typed, canonical, ok)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"", "1234-5678-9012-345", "1234-5678-9012-34567", "12345678-9012-3456", "1234-56789012-3456", "-1234567890123456",
		"1234567890123456-", "1234 5678 9012 3456", " 1234-5678-9012-3456", "1234-5678-9012-3456\n", "+234-5678-9012-3456",
		"1234–5678–9012–3456", "１234-5678-9012-3456", "1234-5678-9012-345x", "----------------", "1-2-3-4-5-6-7-8-9",
		strings.Repeat("1", 4000),
	} {
		if canonical, ok := bypass.Parse(code); ok {
			t.Errorf("%q is read as %s", code, canonical)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1234-5678-9012-3456")
	f.Add("1234567890123456")
	f.Fuzz(func(t *testing.T, code string) {
		canonical, ok := bypass.Parse(code)
		if ok && (!shown.MatchString(canonical) || code != canonical && code != strings.ReplaceAll(canonical, "-", "")) {
			t.Errorf("%q is read as %q", code, canonical)
		}
	})
}
