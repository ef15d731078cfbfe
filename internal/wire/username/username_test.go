package username_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/wire/username"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, want string }{
		{"alice", "alice"},
		{"ALICE", "alice"},
		{"a.b-c_d+e@Example.COM", "a.b-c_d+e@example.com"},
		{"Ａｌｉｃｅ", "alice"},
		{"straße", "strasse"},
		{"STRASSE", "strasse"},
		{"STRAẞE", "strasse"},
		{"ﬁsher", "fisher"},
		{"ﬆ", "st"},
		{"İ", "i\u0307"},
		{"I\u0307", "i\u0307"},
		{"ı", "ı"},
		{"ΣΊΣΥΦΟΣ", "σίσυφοσ"},
		{"Σίσυφος", "σίσυφοσ"},
		{"\u212bngström", "ångström"},
		{"A\u030aNGSTRO\u0308M", "ångström"},
		{"\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"},
		{"한글", "한글"},
		{"ﾎﾟ", "ポ"},
		{"ポ", "ポ"},
		{"①②", "12"},
		{"\u2126", "ω"},
		{"K", "k"},
		{"q\u0307\u0323", "q\u0323\u0307"},
		{"q\u0323\u0307", "q\u0323\u0307"},
		{"q\u0307\u034f\u0323", "q\u0323\u0307"},
		{"\u03b1\u0345\u0301", "άι"},
		{"\u03b1\u0301\u0345", "άι"},
		{"\u1fb4", "άι"},
		{"a\ufe0fb", "ab"},
		{"a\U000E0100b", "ab"},
		{"ab\u3164", "ab"},
		{"xᏸꭰᎠaꭱ", "xᏰᎠᎠaᎡ"},
		{"Ａ＠ｂ", "a@b"},
		{"𝒜𝓁𝒾𝒸ℯ", "alice"},
		{strings.Repeat("ａ", 85), strings.Repeat("a", 85)},
		{strings.Repeat("A", 255), strings.Repeat("a", 255)},
	} {
		got, err := username.Canonical(tc.name)
		if err != nil || got != tc.want {
			t.Errorf("Canonical(%+q) = %+q, %v, want %+q", tc.name, got, err, tc.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]username.Error{
		"":                           username.Empty,
		"\u3164":                     username.Empty,
		"\ufe0f\ufe0f":               username.Empty,
		strings.Repeat("a", 256):     username.TooLong,
		strings.Repeat("ａ", 86):      username.TooLong,
		strings.Repeat("㎢", 85):      "",
		strings.Repeat("㍿", 85):      username.TooLong,
		"a\xff":                      username.Encoding,
		"\xed\xa0\x80":               username.Encoding,
		"\xc0\xafx":                  username.Encoding,
		" alice":                     username.Character,
		"alice ":                     username.Character,
		"a b":                        username.Character,
		"a\u00a0b":                   username.Character,
		"a\u3000b":                   username.Character,
		"a\u2028b":                   username.Character,
		"a\tb":                       username.Character,
		"a\n":                        username.Character,
		"a\x00":                      username.Character,
		"a\x7f":                      username.Character,
		"a\u0085b":                   username.Character,
		"a\u00adb":                   username.Character,
		"a\u200bb":                   username.Character,
		"a\u200db":                   username.Character,
		"a\u202eb":                   username.Character,
		"\ufeffa":                    username.Character,
		"a\ue000":                    username.Character,
		"a\U0010fffd":                username.Character,
		"a\U000e0041":                username.Character,
		"a\uffff":                    username.Character,
		"a\u0378":                    username.Character,
		"a/b":                        username.Character,
		`a\b`:                        username.Character,
		"a|b":                        username.Character,
		"a#b":                        username.Character,
		`a"b`:                        username.Character,
		"<a":                         username.Character,
		"a>":                         username.Character,
		"a＃b":                        username.Character,
		"a＼b":                        username.Character,
		"a\u2100b":                   username.Character, // becomes a/c
		"a\u00a8":                    username.Character, // becomes a space and a mark
		"\ufdfa":                     username.Character, // becomes four words
		"a\u226e":                    "",                 // decomposes to < and a mark, and composes again
		"a\u2260b":                   "",
		"\u00b4":                     username.Character,
		"\U0001f468\u200d\U0001f9b0": username.Character,
	} {
		_, err := username.Canonical(name)
		if want == "" {
			if err != nil {
				t.Errorf("Canonical(%+q): %v, want none", name, err)
			}
			continue
		}
		if !errors.Is(err, want) {
			t.Errorf("Canonical(%+q): %v, want %v", name, err, want)
		}
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		form       username.Form
		name, want string
		err        error
	}{
		{username.AsIs, "Alice@Example.com", "alice@example.com", nil},
		{username.AsIs, `CORP\Alice`, "", username.Character},
		{username.StripDomain, `CORP\Alice`, "alice", nil},
		{username.StripDomain, `CORP＼Alice`, "alice", nil},
		{username.StripDomain, "Alice", "alice", nil},
		{username.StripDomain, `corp.example\alice@x`, "alice@x", nil},
		{username.StripDomain, `\alice`, "", username.Character},
		{username.StripDomain, `CORP\`, "", username.Empty},
		{username.StripDomain, `A\B\alice`, "", username.Character},
		{username.StripDomain, `CORP\al ice`, "", username.Character},
		{username.StripDomain, `CO RP\alice`, "", username.Character},
		{username.StripDomain, `CORP/alice`, "", username.Character},
		{username.StripDomain, "", "", username.Empty},
		{username.StripSuffix, "Alice@Corp.Example", "alice", nil},
		{username.StripSuffix, "alice＠corp", "alice", nil},
		{username.StripSuffix, "alice", "alice", nil},
		{username.StripSuffix, "a@b@c", "a@b", nil},
		{username.StripSuffix, "alice@", "alice@", nil},
		{username.StripSuffix, "@corp", "", username.Empty},
		{username.StripSuffix, `corp\alice@x`, "", username.Character},
		{"", "alice", "", username.UnknownForm},
		{"lower", "alice", "", username.UnknownForm},
	} {
		got, err := username.Apply(tc.form, tc.name)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("Apply(%q, %q) = %q, %v, want %q, %v", tc.form, tc.name, got, err, tc.want, tc.err)
		}
		if want := !errors.Is(tc.err, username.UnknownForm); tc.form.Valid() != want {
			t.Errorf("%q.Valid() = %v, want %v", tc.form, tc.form.Valid(), want)
		}
	}
}

// checkCanonical fails unless got keeps what every canonical name promises.
func checkCanonical(t interface {
	Helper()
	Fatalf(string, ...any)
}, name, got string,
) {
	t.Helper()
	again, err := username.Canonical(got)
	if err != nil || again != got {
		t.Fatalf("Canonical(%+q) = %+q, whose own is %+q, %v", name, got, again, err)
	}
	if got == "" || len(got) > username.MaxBytes || !utf8.ValidString(got) || !norm.NFKC.IsNormalString(got) {
		t.Fatalf("Canonical(%+q) = %+q is out of form", name, got)
	}
	for _, r := range got {
		if unicode.IsSpace(r) || unicode.Is(unicode.C, r) || strings.ContainsRune(`/\|#"<>`, r) || unicode.Is(unicode.Variation_Selector, r) {
			t.Fatalf("Canonical(%+q) = %+q holds %+q", name, got, r)
		}
	}
}

func TestEveryCharacterIsStable(t *testing.T) {
	t.Parallel()
	accepted := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		name := "a" + string(r)
		got, err := username.Canonical(name)
		if err != nil {
			continue
		}
		accepted++
		checkCanonical(t, name, got)
		for _, variant := range []string{norm.NFC.String(name), norm.NFD.String(name), norm.NFKC.String(name), norm.NFKD.String(name)} {
			// A decomposed < with a mark is refused as written; nothing else may differ.
			if v, err := username.Canonical(variant); err == nil && v != got {
				t.Errorf("%+q gives %+q, %+q gives %+q", name, got, variant, v)
			}
		}
	}
	if accepted < 100_000 {
		t.Errorf("only %d characters are accepted", accepted)
	}
}

func TestVariantsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom(nil, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Hangul,
			unicode.Mn, unicode.Han, unicode.Digit), 1, 20, 200).Draw(t, "name")
		got, err := username.Canonical(name)
		if err != nil {
			t.Skip(err)
		}
		checkCanonical(t, name, got)
		for _, variant := range []string{
			norm.NFC.String(name), norm.NFD.String(name), norm.NFKC.String(name), norm.NFKD.String(name),
			strings.ReplaceAll(name, "a", "Ａ"), "\ufe0f" + name,
		} {
			v, err := username.Canonical(variant)
			if err == nil && v != got {
				t.Fatalf("%+q gives %+q, %+q gives %+q", name, got, variant, v)
			}
		}
	})
}

func TestASCIIVariantsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[!$-.0-;=?-\[\]-{}~]{1,80}`).Draw(t, "name")
		wide := strings.Map(func(r rune) rune { return r - '!' + '！' }, name)
		got, err := username.Canonical(name)
		if err != nil {
			t.Fatalf("Canonical(%q): %v", name, err)
		}
		for _, variant := range []string{strings.ToUpper(name), strings.ToLower(name), wide} {
			if v, err := username.Canonical(variant); err != nil || v != got {
				t.Fatalf("%q gives %q, %q gives %q, %v", name, got, variant, v, err)
			}
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"alice", "STRASSE", "İ", "a\u0345\u0301", "\ufdfa", "a\xff", `A\b`, "a@b", "\u115f\u1160", "ᏸ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := username.Canonical(s)
		if err == nil {
			checkCanonical(t, s, got)
		} else if got != "" {
			t.Fatalf("refused %+q and gave %+q", s, got)
		}
		for _, form := range []username.Form{username.AsIs, username.StripDomain, username.StripSuffix} {
			if got, err := username.Apply(form, s); err == nil {
				checkCanonical(t, s, got)
			}
		}
	})
}
