// Package cursor writes and reads the opaque places at which a listing goes on.
//
// A cursor names the last row of a page by its time and id. It carries a tag over both and
// over the listing that it belongs to, so that one made up, changed, cut or taken from
// another listing (another caller's, another filter's) is refused and the rows behind it
// stay out of reach.
package cursor

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

const (
	version  = 1
	tagBytes = 16
	// fixedBytes are the version, the time and the tag.
	fixedBytes = 1 + 8 + tagBytes
	// MaxID is the greatest length of an id in bytes.
	MaxID = 128
)

// ErrInvalid is what every cursor that this package did not write for this listing gives.
var ErrInvalid = errors.New("cursor is not valid here")

// Position is the last row that a page showed.
type Position struct {
	// At is the row's time in microseconds since 1970 UTC.
	At int64
	// ID is the row's id, which orders rows of one time. It has 1 to [MaxID] bytes.
	ID string
}

// Codec writes and reads cursors with one key. It may be used by several goroutines.
type Codec struct {
	key []byte
}

// New makes a Codec. The key is secret, has at least 16 bytes, and is the same on every node
// and after every start; New panics if it is shorter, which is a bug of the caller.
func New(key []byte) Codec {
	if len(key) < 16 {
		panic("cursor: key is too short")
	}
	return Codec{key: append([]byte(nil), key...)}
}

// Encode gives the cursor of p in the listing that scope names: realm, caller, route and
// filters, in whatever form the caller makes unambiguous. It panics if the id is empty or
// longer than [MaxID], which is a bug of the caller.
func (c Codec) Encode(scope string, p Position) string {
	if p.ID == "" || len(p.ID) > MaxID {
		panic("cursor: id is empty or too long")
	}
	b := make([]byte, 0, fixedBytes+len(p.ID))
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(p.At)) //nolint:gosec // the same bits, read back the same way
	b = append(b, p.ID...)
	b = append(b, c.tag(scope, b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Parse reads a cursor that [Codec.Encode] wrote for the same scope. Everything else gives
// [ErrInvalid].
func (c Codec) Parse(scope, s string) (Position, error) {
	if len(s) > base64.RawURLEncoding.EncodedLen(fixedBytes+MaxID) {
		return Position{}, ErrInvalid
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	// The decoder takes line breaks and stray bits in the last character; only one spelling
	// of a cursor is valid.
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != s || len(b) <= fixedBytes || b[0] != version {
		return Position{}, ErrInvalid
	}
	body, tag := b[:len(b)-tagBytes], b[len(b)-tagBytes:]
	if !hmac.Equal(tag, c.tag(scope, body)) {
		return Position{}, ErrInvalid
	}
	return Position{
		At: int64(binary.BigEndian.Uint64(body[1:9])), //nolint:gosec // the same bits, written the same way
		ID: string(body[9:]),
	}, nil
}

func (c Codec) tag(scope string, body []byte) []byte {
	m := hmac.New(sha256.New, c.key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(scope))))
	m.Write([]byte(scope))
	m.Write(body)
	return m.Sum(nil)[:tagBytes]
}
