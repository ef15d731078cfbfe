// Package syslog writes messages of the syslog protocol (RFC 5424), and frames them for streams (RFC
// 6587 §3.4.1, RFC 5425).
package syslog

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Severity says how urgent a message is.
type Severity int

// The severities that audit records have.
const (
	Warning Severity = 4
	Notice  Severity = 5
	Info    Severity = 6
)

// Facilities gives the number of a facility by its name.
func Facilities() map[string]int {
	return map[string]int{
		"user": 1, "daemon": 3, "auth": 4, "authpriv": 10, "local0": 16, "local1": 17, "local2": 18, "local3": 19,
		"local4": 20, "local5": 21, "local6": 22, "local7": 23,
	}
}

// Param is a name and a value of structured data.
type Param struct{ Name, Value string }

// Message is one message. What a member may not hold by the protocol is replaced, never sent.
type Message struct {
	Facility int
	Severity Severity
	Time     time.Time
	Host     string // at most 255 visible ASCII characters
	App      string // 48
	Process  string // 128
	ID       string // 32
	DataID   string // of the structured data, 32; none without it
	Data     []Param
	Text     string // UTF-8
}

// Append appends the message to b.
func (m Message) Append(b []byte) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(m.Facility*8+int(m.Severity)), 10)
	b = append(b, ">1 "...)
	b = m.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	for _, f := range []struct {
		text string
		most int
	}{{m.Host, 255}, {m.App, 48}, {m.Process, 128}, {m.ID, 32}} {
		b = append(b, ' ')
		b = appendWord(b, f.text, f.most)
	}
	b = append(b, ' ')
	if m.DataID == "" {
		b = append(b, '-')
	} else {
		b = append(b, '[')
		b = appendName(b, m.DataID)
		for _, p := range m.Data {
			b = append(b, ' ')
			b = appendName(b, p.Name)
			b = append(b, '=', '"')
			b = appendValue(b, p.Value)
			b = append(b, '"')
		}
		b = append(b, ']')
	}
	if m.Text != "" {
		b = append(b, ' ')
		// A line break is allowed, and receivers that read lines would take it for the end.
		b = append(b, strings.NewReplacer("\n", " ", "\r", " ").Replace(strings.ToValidUTF8(m.Text, "\uFFFD"))...)
	}
	return b
}

// Frame appends message with its length before it, by octet counting.
func Frame(b, message []byte) []byte {
	b = strconv.AppendInt(b, int64(len(message)), 10)
	b = append(b, ' ')
	return append(b, message...)
}

// appendWord writes a header field: visible ASCII, or - for none.
func appendWord(b []byte, s string, most int) []byte {
	if s == "" {
		return append(b, '-')
	}
	for i := range min(len(s), most) {
		if c := s[i]; c > ' ' && c <= '~' {
			b = append(b, c)
		} else {
			b = append(b, '_')
		}
	}
	return b
}

// appendName writes an SD-NAME.
func appendName(b []byte, s string) []byte {
	if s == "" {
		return append(b, '_')
	}
	for i := range min(len(s), 32) {
		switch c := s[i]; {
		case c <= ' ', c > '~', c == '=', c == ']', c == '"':
			b = append(b, '_')
		default:
			b = append(b, c)
		}
	}
	return b
}

// appendValue writes a PARAM-VALUE: the quote, the backslash and the closing bracket are escaped.
func appendValue(b []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == ']':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = append(b, ' ')
		default:
			b = utf8.AppendRune(b, r) // U+FFFD for what is not UTF-8
		}
	}
	return b
}
