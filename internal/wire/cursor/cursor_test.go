package cursor_test

import (
	"encoding/base64"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/wire/cursor"
)

var key = []byte("0123456789abcdef")

func TestVector(t *testing.T) {
	t.Parallel()
	const want = "AQAGPqxkZpAAY2hfYQ"
	got := cursor.New(key).Encode("s", cursor.Position{At: 1_757_760_000_004_096, ID: "ch_a"})
	body, err := base64.RawURLEncoding.DecodeString(got)
	if err != nil {
		t.Fatal(err)
	}
	if b := base64.RawURLEncoding.EncodeToString(body[:13]); b != want {
		t.Errorf("body is %q, want %q", b, want)
	}
	if len(body) != 13+16 {
		t.Errorf("cursor has %d bytes, want 29", len(body))
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	c := cursor.New(key)
	rapid.Check(t, func(t *rapid.T) {
		want := cursor.Position{
			At: rapid.Int64().Draw(t, "at"),
			ID: rapid.StringMatching(`[a-z0-9_]{1,128}`).Draw(t, "id"),
		}
		scope := rapid.String().Draw(t, "scope")
		got, err := c.Parse(scope, c.Encode(scope, want))
		if err != nil || got != want {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	})
}

func TestEveryChangeIsRefused(t *testing.T) {
	t.Parallel()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=\n\r\x00 "
	c := cursor.New(key)
	for _, id := range []string{"e", "ev", "evt", "evt_abcdefghijklmnopqrstuvwxyz"} {
		good := c.Encode("scope", cursor.Position{At: math.MaxInt64, ID: id})
		bad := []string{good + "=", good + "A", good + "\n", " " + good, good + good, strings.Repeat(good, 10)}
		for i := range len(good) {
			bad = append(bad, good[:i], good[i+1:], good[:i]+"\n"+good[i:])
			for _, r := range alphabet {
				if changed := good[:i] + string(r) + good[i+1:]; changed != good {
					bad = append(bad, changed)
				}
			}
		}
		for _, s := range bad {
			if p, err := c.Parse("scope", s); !errors.Is(err, cursor.ErrInvalid) || p != (cursor.Position{}) {
				t.Errorf("Parse(%q) = %v, %v", s, p, err)
			}
		}
	}
}

func TestOtherListingAndKey(t *testing.T) {
	t.Parallel()
	c := cursor.New(key)
	s := c.Encode("app_a|events", cursor.Position{At: 1, ID: "x"})
	if _, err := c.Parse("app_b|events", s); !errors.Is(err, cursor.ErrInvalid) {
		t.Errorf("another listing took it: %v", err)
	}
	if _, err := cursor.New([]byte("another key of 16+ bytes")).Parse("app_a|events", s); !errors.Is(err, cursor.ErrInvalid) {
		t.Errorf("another key took it: %v", err)
	}
}

func TestBugsOfTheCallerPanic(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"short key": func() { cursor.New(key[:15]) },
		"no id":     func() { cursor.New(key).Encode("", cursor.Position{}) },
		"long id":   func() { cursor.New(key).Encode("", cursor.Position{ID: strings.Repeat("a", cursor.MaxID+1)}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func FuzzParse(f *testing.F) {
	c := cursor.New(key)
	f.Add("", "")
	f.Add("s", c.Encode("s", cursor.Position{At: -1, ID: "ch_a"}))
	f.Add("t", c.Encode("s", cursor.Position{At: 0, ID: "ch_a"}))
	f.Fuzz(func(t *testing.T, scope, s string) {
		p, err := c.Parse(scope, s)
		if err == nil && c.Encode(scope, p) != s {
			t.Fatalf("Parse(%q, %q) gave %v, which is another cursor", scope, s, p)
		}
	})
}
