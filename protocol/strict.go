package protocol

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// shape is what a JSON value must look like, taken once from a Go type: a struct field without
// the tag option omitzero is a member that must be there.
type shape struct {
	kind     jsontext.Kind // '{', '[', '"', '0' or 't'
	elem     *shape        // of an array
	members  map[string]*shape
	required []string
	nonEmpty bool // a text that is left out when there is none
}

func shapeOf[T any]() *shape { return newShape(reflect.TypeFor[T]()) }

// newShape panics for a type that has no strict form, which is a mistake in this package.
func newShape(t reflect.Type) *shape {
	switch t.Kind() {
	case reflect.Pointer:
		return newShape(t.Elem())
	case reflect.String:
		return &shape{kind: '"'}
	case reflect.Bool:
		return &shape{kind: 't'}
	case reflect.Int, reflect.Int64:
		return &shape{kind: '0'}
	case reflect.Slice:
		return &shape{kind: '[', elem: newShape(t.Elem())}
	case reflect.Struct:
		s := &shape{kind: '{', members: make(map[string]*shape)}
		for f := range t.Fields() {
			name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			m := newShape(f.Type)
			s.members[name] = m
			if option == "omitzero" {
				m.nonEmpty = m.kind == '"'
			} else {
				s.required = append(s.required, name)
			}
		}
		return s
	default:
		panic("protocol: no strict form for " + t.String())
	}
}

// scan is one strict reading of a JSON text. Breaches of JSON or of the rules that hold for any
// message end it; breaches of the shape are kept, the first of each kind, and reading goes on.
type scan struct {
	dec     *jsontext.Decoder
	shapeE  error
	unknown error
	version int64 // the outermost member v, or -1
}

// checkStrict reads data once against the shape.
func checkStrict(data []byte, s *shape) (*scan, error) {
	c := &scan{dec: jsontext.NewDecoder(bytes.NewBuffer(data)), version: -1}
	if c.dec.PeekKind() != '{' {
		return nil, malformed("", "not a JSON object")
	}
	if err := c.value(s, "", 1); err != nil {
		return nil, err
	}
	if _, err := c.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, malformed("", "bytes after the JSON object")
	}
	return c, nil
}

func (c *scan) breach(path, detail string) {
	if c.shapeE == nil {
		c.shapeE = malformed(path, detail)
	}
}

// value reads one value; s is nil below an unknown member.
func (c *scan) value(s *shape, path string, depth int) error {
	tok, err := c.dec.ReadToken()
	if err != nil {
		return malformed(path, "not JSON of the strict form")
	}
	kind := tok.Kind()
	if kind == 'n' {
		return malformed(path, "null")
	}
	if (kind == '{' || kind == '[') && depth > MaxDepth {
		return malformed(path, "nested too deep")
	}
	if s != nil {
		if want := s.kind; kind != want && (kind != 'f' || want != 't') {
			c.breach(path, "wrong JSON type")
			s = nil
		}
	}
	switch kind {
	case '"':
		if s != nil && s.nonEmpty && tok.String() == "" {
			c.breach(path, "an optional text is left out when empty")
		}
		return nil
	case '0':
		n, ok := integer(tok.String())
		if !ok {
			return malformed(path, "not an integer of at most 2^53-1")
		}
		if path == "v" {
			c.version = n
		}
		return nil
	case '{':
		return c.object(s, path, depth)
	case '[':
		var elem *shape
		if s != nil {
			elem = s.elem
		}
		for c.dec.PeekKind() != ']' {
			if err := c.value(elem, path, depth+1); err != nil {
				return err
			}
		}
		_, err := c.dec.ReadToken()
		return err
	default:
		return nil
	}
}

func (c *scan) object(s *shape, path string, depth int) error {
	var seen map[string]bool
	if s != nil {
		seen = make(map[string]bool, len(s.members))
	}
	for c.dec.PeekKind() != '}' {
		tok, err := c.dec.ReadToken()
		if err != nil {
			return malformed(path, "not JSON of the strict form, or a name twice")
		}
		name := tok.String()
		full := name
		if path != "" {
			full = path + "." + name
		}
		var inner *shape
		if s != nil {
			inner = s.members[name]
			if inner == nil && c.unknown == nil {
				c.unknown = malformed(path, "unknown member")
			}
			if inner != nil {
				seen[name] = true
			}
		}
		if err := c.value(inner, full, depth+1); err != nil {
			return err
		}
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return malformed(path, "not JSON of the strict form")
	}
	if s == nil {
		return nil
	}
	for _, name := range s.required {
		if !seen[name] {
			full := name
			if path != "" {
				full = path + "." + name
			}
			c.breach(full, "missing")
			break
		}
	}
	return nil
}

func integer(text string) (int64, bool) {
	digits := strings.TrimPrefix(text, "-")
	if len(digits) > 16 || (digits == "0" && digits != text) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n <= MaxInteger && n >= -MaxInteger
}

// decodeStrict reads data as a T whose shape is s. Both kinds of unknown are malformed.
func decodeStrict[T any](data []byte, s *shape) (*T, error) {
	c, err := checkStrict(data, s)
	if err != nil {
		return nil, err
	}
	if c.shapeE != nil {
		return nil, c.shapeE
	}
	if c.unknown != nil {
		return nil, c.unknown
	}
	return unmarshal[T](data)
}

// decodeSigned is decodeStrict for what the server signs: another v or an unknown member means
// that the server is newer than this reader.
func decodeSigned[T any](data []byte, s *shape) (*T, error) {
	c, err := checkStrict(data, s)
	if err != nil {
		return nil, err
	}
	if c.version >= 0 && c.version != Version {
		return nil, &Error{Kind: ErrUpdateRequired, Member: "v", Detail: "another version of the protocol"}
	}
	if c.unknown != nil {
		return nil, &Error{Kind: ErrUpdateRequired, Detail: "unknown member"}
	}
	if c.shapeE != nil {
		return nil, c.shapeE
	}
	return unmarshal[T](data)
}

func unmarshal[T any](data []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return nil, malformed("", "not the JSON of this message")
	}
	return v, nil
}

// Encode gives the JSON of a payload, an answer or a receipt: members in the order of the
// struct, absent ones left out, empty lists as []. It fails only for a value that is not JSON,
// such as text that is not UTF-8.
func Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return nil, malformed("", "cannot be written as JSON")
	}
	return data, nil
}
