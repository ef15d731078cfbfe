package backup_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/factor/backup"
)

var shown = regexp.MustCompile(`^([1-9]|10)(-[a-z2-7]{4}){4}$`)

func TestMake(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for i := 1; i <= backup.Count; i++ {
		for range 100 {
			code := backup.Make(i)
			if !shown.MatchString(code) || seen[code] {
				t.Fatalf("code %s", code)
			}
			seen[code] = true
			index, canonical, ok := backup.Parse(code)
			if !ok || index != i || canonical != code {
				t.Fatalf("%s is read as %d %s, %v", code, index, canonical, ok)
			}
			if index, canonical, ok := backup.Parse(strings.ToUpper(code)); !ok || index != i || canonical != code {
				t.Fatalf("%s in upper case is read as %d %s, %v", code, index, canonical, ok)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const right = "3-abcd-efgh-ijkl-mnop"
	if _, _, ok := backup.Parse(right); !ok {
		t.Fatal("the form that is shown is refused")
	}
	for _, code := range []string{
		"", " " + right, right + " ", right + "\n", right + "-", "-" + right, "+" + right, "0" + right,
		"0-abcd-efgh-ijkl-mnop", "11-abcd-efgh-ijkl-mnop", "-1-abcd-efgh-ijkl-mnop", "3abcdefghijklmnop", "abcd-efgh-ijkl-mnop",
		"3-abcdefgh-ijkl-mnop", "3-abcd-efgh-ijkl-mno", "3-abcd-efgh-ijkl-mnopq", "3-abcd--efgh-ijkl-mnop", "3 abcd efgh ijkl mnop",
		"3-abcd-efgh-ijkl-mno0", "3-abcd-efgh-ijkl-mno1", "3-abcd-efgh-ijkl-mno8", "3-abcd-efgh-ijkl-mno9",
		"３-abcd-efgh-ijkl-mnop", "3–abcd-efgh-ijkl-mnop",
		"3-abcd-efgh-ijkl-mno\u212a", // the Kelvin sign, whose lower case is k
		"3-abcd-efgh-i\u017fjk-mnop", // the long s, whose upper case is S
		strings.Repeat("3-abcd-efgh-ijkl-mnop", 1000),
	} {
		if _, canonical, ok := backup.Parse(code); ok {
			t.Errorf("%q is read as %s", code, canonical)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("3-abcd-efgh-ijkl-mnop")
	f.Add("10-ABCD-EFGH-2345-MNOP")
	f.Fuzz(func(t *testing.T, code string) {
		_, canonical, ok := backup.Parse(code)
		if !ok {
			return
		}
		if !shown.MatchString(canonical) || !strings.EqualFold(canonical, code) || len(canonical) != len(code) {
			t.Errorf("%q is read as %q", code, canonical)
		}
	})
}
