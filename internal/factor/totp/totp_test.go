package totp_test

import (
	"encoding/base32"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/factor/totp"
)

// seed is the one of RFC 6238, appendix B: digits repeated to the length of the hash.
func seed(a totp.Algorithm) []byte {
	return []byte(strings.Repeat("1234567890", 7))[:a.SeedBytes()]
}

// TestRFC6238 has the vectors of appendix B.
func TestRFC6238(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		at                   int64
		sha1, sha256, sha512 string
	}{
		{59, "94287082", "46119246", "90693936"},
		{1111111109, "07081804", "68084774", "25091201"},
		{1111111111, "14050471", "67062674", "99943326"},
		{1234567890, "89005924", "91819424", "93441116"},
		{2000000000, "69279037", "90698825", "38618901"},
		{20000000000, "65353130", "77737706", "47863826"},
	} {
		for a, want := range map[totp.Algorithm]string{totp.SHA1: v.sha1, totp.SHA256: v.sha256, totp.SHA512: v.sha512} {
			c := totp.Code{Seed: seed(a), Algorithm: a, Digits: 8, Period: 30 * time.Second}
			now := time.Unix(v.at, 0)
			if got := c.At(c.Step(now)); got != want {
				t.Errorf("%s at %d: %s, want %s", a, v.at, got, want)
			}
			if step, ok := c.Match(want, now); !ok || step != v.at/30 {
				t.Errorf("%s at %d: matches step %d, %v", a, v.at, step, ok)
			}
		}
	}
}

// TestRFC4226 has the values of appendix D.
func TestRFC4226(t *testing.T) {
	t.Parallel()
	c := totp.Code{Seed: seed(totp.SHA1), Algorithm: totp.SHA1, Digits: 6, Period: 30 * time.Second}
	for step, want := range []string{
		"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
	} {
		if got := c.At(int64(step)); got != want {
			t.Errorf("step %d: %s, want %s", step, got, want)
		}
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	c := totp.Code{Seed: seed(totp.SHA256), Algorithm: totp.SHA256, Digits: 8, Period: 30 * time.Second}
	start := time.Unix(1_700_000_010, 0) // a step begins
	step := c.Step(start)
	for _, at := range []time.Time{start, start.Add(30*time.Second - time.Nanosecond)} {
		for d, want := range map[int64]bool{-3: false, -2: false, -1: true, 0: true, 1: true, 2: false, 3: false} {
			got, ok := c.Match(c.At(step+d), at)
			if ok != want || ok && got != step+d {
				t.Errorf("code of step %+d at %v: step %d, %v", d, at, got-step, ok)
			}
		}
	}
}

// TestOtherSpellings has codes that mean the right one to a reader and are another string: none is
// repaired into it.
func TestOtherSpellings(t *testing.T) {
	t.Parallel()
	c := totp.Code{Seed: seed(totp.SHA1), Algorithm: totp.SHA1, Digits: 6, Period: 30 * time.Second}
	now := time.Unix(1_700_000_010, 0)
	right := c.At(c.Step(now))
	if _, ok := c.Match(right, now); !ok {
		t.Fatal("the right code is refused")
	}
	wide := strings.Map(func(r rune) rune { return r - '0' + '０' }, right)
	arabic := strings.Map(func(r rune) rune { return r - '0' + '٠' }, right)
	for _, code := range []string{
		"", " " + right, right + " ", right + "\n", "\t" + right, right[:3] + " " + right[3:], right[:3] + "-" + right[3:],
		"+" + right, "-" + right, "0" + right, "00" + right, right + "0", right[1:], right[:5], right + "\x00",
		"0x" + right, right + ".", right + ".0", wide, arabic, right[:5] + wide[len(wide)-3:], "\ufeff" + right, right + "\u200b",
		strings.Repeat("0", 4000), "null", "undefined",
	} {
		if _, ok := c.Match(code, now); ok {
			t.Errorf("%q is accepted", code)
		}
	}
}

func TestDigits(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"123456": true, "1234567": true, "12345678": true, "000000": true,
		"": false, "12345": false, "123456789": false, "12345a": false, "12345 ": false, "１２３４５６": false, "-12345": false,
	} {
		if got := totp.Digits(code); got != want {
			t.Errorf("%q: %v", code, got)
		}
	}
}

func TestURI(t *testing.T) {
	t.Parallel()
	c := totp.Code{Seed: seed(totp.SHA512), Algorithm: totp.SHA512, Digits: 7, Period: time.Minute}
	raw := c.URI("Example & Co: one", "älice@example.com?x=1")
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Example & Co: one:älice@example.com?x=1" {
		t.Errorf("address is %s", raw)
	}
	if strings.Contains(raw, "+") {
		t.Errorf("a space is a plus in %s", raw)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"issuer": "Example & Co: one", "algorithm": "SHA512", "digits": "7", "period": "60", "secret": c.Base32(),
	} {
		if got := q.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if back, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(c.Base32()); err != nil || string(back) != string(c.Seed) {
		t.Errorf("seed comes back as %q, %v", back, err)
	}
	if got, want := (totp.Code{Seed: []byte("x"), Algorithm: totp.SHA1, Digits: 6, Period: 30 * time.Second}).URI("", "a"), "otpauth://totp/a?"; !strings.HasPrefix(got, want) {
		t.Errorf("without an issuer: %s", got)
	}
}

func TestSeedBytes(t *testing.T) {
	t.Parallel()
	for a, want := range map[totp.Algorithm]int{totp.SHA1: 20, totp.SHA256: 32, totp.SHA512: 64, "MD5": 0, "": 0, "sha1": 0} {
		if got := a.SeedBytes(); got != want {
			t.Errorf("%s: %d", a, got)
		}
	}
}

func TestMatchesOnlyItsOwnCodes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]totp.Algorithm{totp.SHA1, totp.SHA256, totp.SHA512}).Draw(t, "algorithm")
		c := totp.Code{
			Seed: rapid.SliceOfN(rapid.Byte(), a.SeedBytes(), a.SeedBytes()).Draw(t, "seed"), Algorithm: a,
			Digits: rapid.IntRange(6, 8).Draw(t, "digits"), Period: 30 * time.Second,
		}
		now := time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "now"), 0)
		code := rapid.StringMatching(`[0-9]{6,8}`).Draw(t, "code")
		step, ok := c.Match(code, now)
		want := false
		for s := c.Step(now) - 1; s <= c.Step(now)+1; s++ {
			want = want || c.At(s) == code
		}
		if ok != want || ok && c.At(step) != code {
			t.Fatalf("%s: step %d, %v, want %v", code, step, ok, want)
		}
	})
}

func FuzzMatch(f *testing.F) {
	c := totp.Code{Seed: seed(totp.SHA1), Algorithm: totp.SHA1, Digits: 6, Period: 30 * time.Second}
	now := time.Unix(1_700_000_010, 0)
	f.Add(c.At(c.Step(now)))
	f.Add(" 123456")
	f.Add("１２３４５６")
	f.Fuzz(func(t *testing.T, code string) {
		if step, ok := c.Match(code, now); ok && c.At(step) != code {
			t.Errorf("%q is accepted as %q", code, c.At(step))
		}
	})
}
