package login

import (
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

func TestPass(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	p := passes{key: []byte("a key of at least some length")}
	want := pass{Realm: "default", ID: "inv_a", Enrolment: "enr_a", Link: "https://nod.example/enrol#t.p", Ends: now.Unix() + 60}
	text, err := p.sign(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := p.read(text, now.Add(59*time.Second)); !ok || got != want {
		t.Errorf("got %+v, %v", got, ok)
	}
	if _, ok := p.read(text, now.Add(time.Minute)); ok {
		t.Error("it is good after its end")
	}
	if _, ok := (passes{key: []byte("another key of some length")}).read(text, now); ok {
		t.Error("another server's is good")
	}
	body, tag, _ := strings.Cut(text, ".")
	for _, bad := range []string{"", ".", body, "." + tag, body + ".", text + ".", body + "=." + tag, text[1:], strings.Repeat("A", 3000) + "." + tag} {
		if _, ok := p.read(bad, now); ok {
			t.Errorf("%q is good", bad)
		}
	}
}

// TestEveryText: no page asks for a text that is not in the table.
func TestEveryText(t *testing.T) {
	t.Parallel()
	l := english()
	_, after, _ := strings.Cut(pageText, "{{")
	for part := range strings.SplitSeq(after, ".T.") {
		name, _, _ := strings.Cut(part, "}")
		if strings.ContainsAny(name, " .<\n") {
			continue // what stands before the first
		}
		if l.texts[name] == "" {
			t.Errorf("no text %q", name)
		}
	}
	for reason, text := range l.reasons {
		if text == "" || reason == "" {
			t.Errorf("reason %q: %q", reason, text)
		}
	}
	for _, step := range []string{"open", "pass", "ticket", "done", "over"} {
		if l.texts[step+"_title"] == "" {
			t.Errorf("the step %s has no title", step)
		}
	}
}

func FuzzPass(f *testing.F) {
	p := passes{key: []byte("a key of at least some length")}
	good, err := p.sign(pass{Realm: "r", ID: "inv_a", Ends: 1 << 40})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("e30.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if v, ok := p.read(text, time.Unix(0, 0)); ok && text != good {
			t.Errorf("%q is read as %+v", text, v)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "pass=x&code=1")
	f.Add("application/x-www-form-urlencoded; charset=utf-8", "a=1&a=2")
	f.Add("text/plain", "%zz")
	f.Fuzz(func(t *testing.T, kind, body string) {
		sent, err := readForm(kind, body)
		if err != nil {
			if mfa.CodeOf(err) != mfa.Invalid {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		for name, values := range sent {
			if len(values) != 1 {
				t.Errorf("%q has %s %d times", body, name, len(values))
			}
		}
	})
}
