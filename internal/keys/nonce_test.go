package keys_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

var noon = time.Unix(1_800_000_000, 0)

func TestNonceVector(t *testing.T) {
	t.Parallel()
	if got, want := vectors(t).Nonce("device", "default", "dev_a", noon), "AAAAAGtJ0gBZv5Mo-MsYeI6OYASLAM5x"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNonceTimes(t *testing.T) {
	t.Parallel()
	r, otherNode := vectors(t), vectors(t)
	n := r.Nonce("device", "default", "dev_a", noon)
	for _, tc := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true},
		{time.Second, true},
		{300*time.Second - 1, true},
		{300 * time.Second, false},
		{301 * time.Second, false},
		{24 * time.Hour, false},
		{-5 * time.Second, true},
		{-5*time.Second - 1, false},
		{-time.Hour, false},
	} {
		if got := otherNode.CheckNonce(n, "device", "default", "dev_a", noon.Add(tc.after)); got != tc.want {
			t.Errorf("after %v: %v, want %v", tc.after, got, tc.want)
		}
	}
}

func TestNonceOfAnotherEpochIsVoid(t *testing.T) {
	t.Parallel()
	for given := range int64(3) {
		for asked := range int64(3) {
			a, b := vectors(t), vectors(t)
			a.AtEpoch(given)
			b.AtEpoch(asked)
			n := a.Nonce("device", "default", "dev_a", noon)
			if got := b.CheckNonce(n, "device", "default", "dev_a", noon); got != (given == asked) {
				t.Errorf("a nonce of epoch %d in epoch %d: %v", given, asked, got)
			}
		}
	}
}

func TestNonceIsBound(t *testing.T) {
	t.Parallel()
	r := vectors(t)
	n := r.Nonce("device", "default", "dev_a", noon)
	for name, ok := range map[string]bool{
		"purpose":      r.CheckNonce(n, "browser", "default", "dev_a", noon),
		"realm":        r.CheckNonce(n, "device", "other", "dev_a", noon),
		"kid":          r.CheckNonce(n, "device", "default", "dev_b", noon),
		"moved border": r.CheckNonce(n, "devicede", "fault", "dev_a", noon),
		"other root":   fresh(t).CheckNonce(n, "device", "default", "dev_a", noon),
	} {
		if ok {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEveryChangeOfANonceIsRefused(t *testing.T) {
	t.Parallel()
	r := vectors(t)
	good := r.Nonce("device", "default", "dev_a", noon)
	bad := []string{"", "A", good + "A", good + "=", good + "\n", " " + good, good + good, good[:31] + "\n", strings.Repeat("A", 32)}
	for i := range len(good) {
		bad = append(bad, good[:i]+good[i+1:], good[:i]+"\n"+good[i:])
		for _, c := range alphabet + "=\n\r+/ \x00" {
			if s := good[:i] + string(c) + good[i+1:]; s != good {
				bad = append(bad, s)
			}
		}
	}
	for _, s := range bad {
		if r.CheckNonce(s, "device", "default", "dev_a", noon) {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestNonceOfAnyInput(t *testing.T) {
	t.Parallel()
	r := vectors(t)
	rapid.Check(t, func(t *rapid.T) {
		purpose, realm, kid := rapid.String().Draw(t, "purpose"), rapid.String().Draw(t, "realm"), rapid.String().Draw(t, "kid")
		at := time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "at"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		if n := r.Nonce(purpose, realm, kid, at); len(n) != 32 || !r.CheckNonce(n, purpose, realm, kid, at) {
			t.Fatalf("%q is refused", n)
		}
	})
}

func FuzzCheckNonce(f *testing.F) {
	r := vectors(f)
	good := r.Nonce("device", "default", "dev_a", noon)
	f.Add(good)
	f.Add("")
	f.Add(strings.ToLower(good))
	f.Fuzz(func(t *testing.T, s string) {
		if r.CheckNonce(s, "device", "default", "dev_a", noon) && s != good {
			t.Fatalf("%q was accepted", s)
		}
	})
}
