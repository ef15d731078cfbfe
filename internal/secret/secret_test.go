package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/secret"
)

const content = "correct horse battery staple"

type holder struct {
	Name   string       `json:"name"`
	Secret secret.Value `json:"secret"`
	hidden secret.Value
}

func TestValueNeverPrints(t *testing.T) {
	t.Parallel()
	v := secret.New(content)
	h := holder{Name: "n", Secret: v, hidden: v}
	var logged bytes.Buffer
	for _, handler := range []slog.Handler{
		slog.NewTextHandler(&logged, nil),
		slog.NewJSONHandler(&logged, nil),
	} {
		slog.New(handler).Info("has secrets", slog.Any("value", v), slog.Any("holder", h),
			slog.Any("pointer", &h), slog.Group("g", slog.Any("value", &v)))
	}
	asJSON, err := json.Marshal(map[string]any{"v": v, "h": h, "p": &v})
	if err != nil {
		t.Fatal(err)
	}
	asXML, err := xml.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{
		"text and JSON log": logged.String(),
		"JSON":              string(asJSON),
		"XML":               string(asXML),
		"error":             fmt.Errorf("wraps %v: %w", v, fmt.Errorf("%v", h)).Error(),
		"println":           fmt.Sprintln(v, h, &h, []secret.Value{v}, map[string]secret.Value{"k": v}),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v", "%10.3s", "%t", "%p", "%U"} {
		out["value "+verb] = fmt.Sprintf(verb, v)
		out["pointer "+verb] = fmt.Sprintf(verb, &v)
		out["holder "+verb] = fmt.Sprintf(verb, h)
		out["holder pointer "+verb] = fmt.Sprintf(verb, &h)
	}
	hexed := fmt.Sprintf("%x", content)
	for where, s := range out {
		for _, bad := range []string{content, "horse", hexed, strings.ToUpper(hexed), content[:3]} {
			if strings.Contains(s, bad) {
				t.Errorf("%s shows the secret: %s", where, s)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, v); got != secret.Redacted {
			t.Errorf("%s: got %q, want %q", verb, got, secret.Redacted)
		}
	}
	if want := `{"name":"n","secret":"[redacted]"}`; !strings.Contains(string(asJSON), want) {
		t.Errorf("JSON: got %s, want it to hold %s", asJSON, want)
	}
}

func TestValueContent(t *testing.T) {
	t.Parallel()
	var zero secret.Value
	if !zero.IsZero() || zero.Reveal() != "" || len(zero.Bytes()) != 0 || !zero.Equal(secret.New("")) {
		t.Error("the zero value is not the empty secret")
	}
	if zero.String() != secret.Redacted {
		t.Error("the zero value tells that it is empty")
	}
	v := secret.New(content)
	if v.IsZero() || v.Reveal() != content || string(v.Bytes()) != content {
		t.Error("the content is lost")
	}
	b := []byte(content)
	w := secret.FromBytes(b)
	b[0] = 'X'
	if w.Reveal() != content {
		t.Error("the secret shares the caller's bytes")
	}
	w.Bytes()[0] = 'X'
	if w.Reveal() != content {
		t.Error("the secret lends its bytes")
	}
	if !v.Equal(w) || v.Equal(zero) || v.Equal(secret.New(content+"x")) || v.Equal(secret.New(content[1:])) {
		t.Error("Equal is wrong")
	}
	var in holder
	if err := json.Unmarshal([]byte(`{"secret":"`+content+`"}`), &in); err != nil || in.Secret.Reveal() != content {
		t.Errorf("unmarshal: %v", err)
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if got, want := secret.Equal(a, b), a == b; got != want {
			t.Fatalf("Equal(%q, %q) = %v, want %v", a, b, got, want)
		}
		if !secret.Equal([]byte(a), []byte(a)) {
			t.Fatalf("%q differs from itself", a)
		}
	})
}

func TestID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2000 {
		id := secret.ID("ch_")
		if !secret.IsID("ch_", id) || len(id) != 29 {
			t.Fatalf("bad form: %q", id)
		}
		if seen[id] {
			t.Fatalf("%q was given twice", id)
		}
		seen[id] = true
	}
	for _, bad := range []string{
		"", "ch_", "ch_" + strings.Repeat("a", 25), "ch_" + strings.Repeat("a", 27),
		"us_" + strings.Repeat("a", 26), "ch_" + strings.Repeat("A", 26), "ch_" + strings.Repeat("1", 26),
		"ch_" + strings.Repeat("a", 25) + "\n", "ch_" + strings.Repeat("8", 26), strings.Repeat("a", 29),
	} {
		if secret.IsID("ch_", bad) {
			t.Errorf("%q passes for an id", bad)
		}
	}
}

func TestTokenLength(t *testing.T) {
	t.Parallel()
	for bits, want := range map[int]int{1: 1, 5: 1, 6: 2, 40: 8, 80: 16, 128: 26, 130: 26, 131: 27, 256: 52} {
		if got := len(secret.Token("", bits)); got != want {
			t.Errorf("Token of %d bits has %d characters, want %d", bits, got, want)
		}
	}
	if got := secret.Token("nod_sk_", 128); !strings.HasPrefix(got, "nod_sk_") {
		t.Errorf("no prefix: %q", got)
	}
	if got := len(secret.Base64(16)); got != 22 {
		t.Errorf("Base64(16) has %d characters, want 22", got)
	}
}

func TestAskingForNothingPanics(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"token":  func() { secret.Token("x", 0) },
		"digits": func() { secret.Digits(0) },
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

// TestUniform counts each character at each place. The bounds are six standard deviations,
// so a sound generator fails once in about ten million runs, and one that takes a byte
// modulo ten (2.3 % too few of some) fails almost always.
func TestUniform(t *testing.T) {
	t.Parallel()
	const n = 200_000
	check := func(name, alphabet string, counts map[byte]int, total int) {
		want := float64(total) / float64(len(alphabet))
		limit := 6 * 6 * want // the square of six deviations of a Poisson count
		for _, c := range []byte(alphabet) {
			if d := float64(counts[c]) - want; d*d > limit {
				t.Errorf("%s: %q came %d times, want about %.0f", name, c, counts[c], want)
			}
		}
		if len(counts) != len(alphabet) {
			t.Errorf("%s: %d different characters, want %d", name, len(counts), len(alphabet))
		}
	}
	digits := map[byte]int{}
	for range n {
		s := secret.Digits(6)
		if len(s) != 6 {
			t.Fatalf("%q has not six digits", s)
		}
		for _, c := range []byte(s) {
			digits[c]++
		}
	}
	check("digits", "0123456789", digits, 6*n)

	first, last := map[byte]int{}, map[byte]int{}
	for range n {
		s := secret.ID("")
		first[s[0]]++
		last[s[25]]++
	}
	check("first of id", "abcdefghijklmnopqrstuvwxyz234567", first, n)
	check("last of id", "abcdefghijklmnopqrstuvwxyz234567", last, n)
}

func TestRandomLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 16, 33} {
		if got := len(secret.Random(n)); got != n {
			t.Errorf("got %d bytes, want %d", got, n)
		}
	}
	if bytes.Equal(secret.Random(16), secret.Random(16)) {
		t.Error("two draws are equal")
	}
}
