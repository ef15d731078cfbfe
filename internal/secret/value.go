// Package secret holds what must not be printed and makes what must not be guessed.
//
// A [Value] keeps a secret from reaching a log, an error, a JSON document or a debugger's
// print by accident. The functions [Random], [ID], [Token] and [Digits] are the only
// source of identifiers and one-time secrets; all of them read crypto/rand.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what every attempt to print a [Value] writes.
const Redacted = "[redacted]"

// Value is a secret. It prints, formats, logs and marshals as [Redacted], whatever the
// verb; only [Value.Reveal] gives the content. The zero value is the empty secret. A
// Value cannot be changed and may be used by several goroutines at once. It can not be
// compared with ==, so that nobody does it in variable time; use [Value.Equal].
type Value struct {
	_ [0]func()
	// s points at the content, so that printing a struct that holds a Value in an
	// unexported field, where fmt cannot call methods, shows an address and nothing else.
	s *string
}

// New makes a secret of s.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{s: &s}
}

// FromBytes makes a secret of a copy of b.
func FromBytes(b []byte) Value { return New(string(b)) }

// Reveal gives the content. The caller answers for where it goes.
func (v Value) Reveal() string {
	if v.s == nil {
		return ""
	}
	return *v.s
}

// Bytes gives a copy of the content. The caller answers for where it goes.
func (v Value) Bytes() []byte { return []byte(v.Reveal()) }

// IsZero tells whether the secret is empty.
func (v Value) IsZero() bool { return v.s == nil }

// Equal tells whether both secrets have the same content, in a time that depends on their
// lengths only.
func (v Value) Equal(other Value) bool { return Equal(v.Reveal(), other.Reveal()) }

// Equal tells whether a and b are equal, in a time that depends on their lengths only and
// does not tell at which place they differ or that their lengths do.
func Equal[T ~string | ~[]byte](a, b T) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// String gives [Redacted].
func (v Value) String() string { return Redacted }

// GoString gives [Redacted].
func (v Value) GoString() string { return Redacted }

// Format writes [Redacted] for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue gives [Redacted].
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText gives [Redacted].
func (v Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON gives [Redacted] as a JSON string.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// UnmarshalText takes text as the content, for configuration and request bodies.
func (v *Value) UnmarshalText(text []byte) error {
	*v = FromBytes(text)
	return nil
}
