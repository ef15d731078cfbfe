package syslog_test

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/wire/syslog"
)

var at = time.Date(2026, 11, 22, 9, 5, 6, 7_008_000, time.FixedZone("", 3600))

func TestAppend(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]syslog.Message{
		`<86>1 2026-11-22T08:05:06.007008Z mfa.example.com nod 77 challenge.denied [nod@32473 id="evt_1" user="usr_1"] {"kind":"challenge.denied"}`: {
			Facility: 10, Severity: syslog.Info, Time: at, Host: "mfa.example.com", App: "nod", Process: "77", ID: "challenge.denied",
			DataID: "nod@32473", Data: []syslog.Param{{Name: "id", Value: "evt_1"}, {Name: "user", Value: "usr_1"}},
			Text: `{"kind":"challenge.denied"}`,
		},
		`<12>1 2026-11-22T08:05:06.007008Z - - - - -`: {Facility: 1, Severity: syslog.Warning, Time: at},
		`<13>1 2026-11-22T08:05:06.007008Z a_b _n__ - xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx [a__ b_c="\"\\\] é � "] one two`: {
			Facility: 1, Severity: syslog.Notice, Time: at, Host: "a b", App: "\nn\u00e9", ID: strings.Repeat("x", 40),
			DataID: "a]=", Data: []syslog.Param{{Name: `b"c`, Value: "\"\\] é \xff\n"}}, Text: "one\ntwo",
		},
	} {
		if diff := cmp.Diff(want, string(m.Append(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := string(syslog.Frame([]byte("x"), []byte("é y"))); got != "x4 é y" {
		t.Errorf("frame %q", got)
	}
}

var form = regexp.MustCompile(`(?s)^<(\d{1,3})>1 \S{27} ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) (.*)$`)

// parse reads a message as a receiver would that keeps to the letter of RFC 5424 §6, and gives the
// values of its structured data.
func parse(s string) (id string, values []string, text string, err error) {
	m := form.FindStringSubmatch(s)
	if m == nil {
		return "", nil, "", errors.New("header")
	}
	rest := m[6]
	if strings.HasPrefix(rest, "-") {
		return "", nil, strings.TrimPrefix(rest[1:], " "), nil
	}
	element := regexp.MustCompile(`^\[([^ =\]"]{1,32})((?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\](?: |$)`).FindStringSubmatch(rest)
	if element == nil {
		return "", nil, "", errors.New("structured data: " + rest)
	}
	for _, p := range regexp.MustCompile(`="((?:[^"\\\]]|\\["\\\]])*)"`).FindAllStringSubmatch(element[2], -1) {
		values = append(values, regexp.MustCompile(`\\(.)`).ReplaceAllString(p[1], "$1"))
	}
	return element[1], values, rest[len(element[0]):], nil
}

// FuzzMessage gives whatever to be written and wants a message that every receiver reads, with the
// same values and nothing that looks like another message.
func FuzzMessage(f *testing.F) {
	f.Add("host", "challenge.denied", "user", `a"b]c\d`, `{"a":"b"}`)
	f.Add("", "", "", "", "")
	f.Add("a\nb", "\x00", "=", "\xff]", "<13>1 x\n<13>1 y")
	f.Fuzz(func(t *testing.T, host, id, name, value, text string) {
		m := syslog.Message{
			Facility: 10, Severity: syslog.Info, Time: at, Host: host, App: "nod", Process: "1", ID: id, DataID: "nod@32473",
			Data: []syslog.Param{{Name: name, Value: value}, {Name: "last", Value: "x"}}, Text: text,
		}
		out := string(m.Append(nil))
		if !utf8.ValidString(out) || strings.ContainsAny(out, "\n\r") {
			t.Fatalf("%q", out)
		}
		got, values, rest, err := parse(out)
		if err != nil || got != "nod@32473" || len(values) != 2 || values[1] != "x" {
			t.Fatalf("%q: %q, %q, %v", out, got, values, err)
		}
		clean := func(s string) string {
			return strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return ' '
				}
				return r
			}, s)
		}
		if utf8.ValidString(value) && values[0] != clean(value) {
			t.Errorf("value %q became %q", value, values[0])
		}
		if utf8.ValidString(text) && rest != strings.NewReplacer("\n", " ", "\r", " ").Replace(text) {
			t.Errorf("text %q became %q", text, rest)
		}
		frame := string(syslog.Frame(nil, []byte(out)))
		n, message, _ := strings.Cut(frame, " ")
		if n != strconv.Itoa(len(message)) || message != out {
			t.Errorf("frame %q", frame)
		}
	})
}
