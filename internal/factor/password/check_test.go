package password

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nodauth/nod/internal/mfa"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	names := []string{"alice.liddell@example.com", "alice", "Alice Liddell"}
	for _, tc := range []struct {
		name, password string
		alone, beside  mfa.Reason // "" for accepted
	}{
		{"words", "sturdy walrus piano gravel", "", ""},
		{"fourteen characters", "walrusPianoGra", mfa.ReasonPasswordWeak, ""},
		{"fifteen characters", "walrusPianoGrav", "", ""},
		{"eight characters", "kH7$qpz!", mfa.ReasonPasswordWeak, ""},
		{"seven characters", "kH7$qpz", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"lower case only", "gubblyworptresk", "", ""},
		{"fifteen characters of two bytes", strings.Repeat("ß", 7) + "walrusPi", "", ""},
		{"eight of four bytes", "🐋🎹🪨🌲🧂🪁🥁🧲", mfa.ReasonPasswordWeak, ""},
		{"seven, one of them decomposed", "kH7$qpe\u0301", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"empty", "", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"on the list", "password1", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"on the list, capitals and signs", "P@ssw0rd-P@ssw0rd", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"on the list, spaced", "the quick brown fox jumps", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"repeated", "aaaaaaaaaaaaaaaaaaaaaaaa", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"keyboard", "qwertyuiopasdfghjkl", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"counted", "12345678901234567890", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"the name", "alice.liddell@example.com", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"the name and a little", "AliceLiddell2026!", mfa.ReasonPasswordWeak, mfa.ReasonPasswordWeak},
		{"the name among words", "alice keeps a walrus piano", "", ""},
		{"a tab", "sturdy walrus\tpiano gravel", mfa.ReasonMalformed, mfa.ReasonMalformed},
		{"NUL", "sturdy walrus piano\x00gravel", mfa.ReasonMalformed, mfa.ReasonMalformed},
		{"not UTF-8", "sturdy walrus piano \xff", mfa.ReasonMalformed, mfa.ReasonMalformed},
		{"1025 bytes", "sturdy walrus piano" + strings.Repeat(" x", 503), mfa.ReasonMalformed, mfa.ReasonMalformed},
		{"1024 bytes", "sturdy walrus piano" + strings.Repeat(" x", 502) + "y", "", ""},
	} {
		for _, second := range []bool{false, true} {
			want := tc.alone
			if second {
				want = tc.beside
			}
			err := Check(tc.password, names, second)
			if mfa.ReasonOf(err) != want || (err != nil) != (want != "") {
				t.Errorf("%s, second factor %v: %v, want %q", tc.name, second, err, want)
			}
			if err != nil && mfa.CodeOf(err) != mfa.Invalid {
				t.Errorf("%s: code %s", tc.name, mfa.CodeOf(err))
			}
		}
	}
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	if composed, apart := Normalize("caf\u00e9"), Normalize("cafe\u0301"); composed != apart {
		t.Errorf("%q and %q", composed, apart)
	}
	if got := Normalize("ﬁＡ ²"); got != "ﬁＡ ²" {
		t.Errorf("what only looks alike became %q", got)
	}
}

func TestListIsInForm(t *testing.T) {
	t.Parallel()
	n, last := 0, ""
	for line := range strings.Lines(list) {
		line = strings.TrimSuffix(line, "\n")
		if line != strings.ToLower(line) || line != strings.TrimSpace(line) || utf8.RuneCountInString(line) < MinBeside {
			t.Errorf("%q can match nothing", line)
		}
		if line == last {
			t.Errorf("%q stands twice", line)
		}
		n, last = n+1, line
	}
	if n < 300 {
		t.Errorf("%d entries", n)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("sturdy walrus piano gravel", "alice")
	f.Add("p@ssw0rd", "")
	f.Add("1/1/91 4@4@4@\u0301", "@")
	f.Fuzz(func(t *testing.T, pw, name string) {
		err := Check(pw, []string{name}, true)
		if err == nil && (utf8.RuneCountInString(Normalize(pw)) < MinBeside || len(pw) > MaxBytes || !utf8.ValidString(pw)) {
			t.Errorf("%q is accepted", pw)
		}
		if err != nil && mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("%q: %v", pw, err)
		}
	})
}
