package httpkit

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/nodauth/nod/internal/mfa"
)

// MaxDepth is how deep the JSON of a request may be nested.
const MaxDepth = 8

// maxField is the greatest length of a member's name that an error repeats.
const maxField = 64

// DecodeJSON reads the body of r as one JSON value of type T. Everything that is not plain is
// an [mfa.Error] of code invalid: another Content-Type (415), a larger body than [Body]
// admits (413), members that are unknown, in another case or there twice, null, depth above
// [MaxDepth], invalid UTF-8, anything after the value. No error repeats a value.
func DecodeJSON[T any](r *http.Request) (T, error) {
	var v T
	if err := checkJSONType(r.Header); err != nil {
		return v, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return v, mfa.Errorf(mfa.Invalid, mfa.ReasonBodyTooLarge, "The body of this request has at most %d bytes.", e.Limit)
		}
		return v, &mfa.Error{
			Code: mfa.Invalid, Reason: mfa.ReasonMalformed, Err: err,
			Message: "The body of the request could not be read to its end.",
		}
	}
	if err := checkJSON(body); err != nil {
		return v, err
	}
	if err := json.Unmarshal(body, &v, json.RejectUnknownMembers(true)); err != nil {
		return v, decodeError(err)
	}
	return v, nil
}

func checkJSONType(h http.Header) error {
	types := h.Values("Content-Type")
	if len(types) == 1 {
		media, params, err := mime.ParseMediaType(types[0])
		charset, given := params["charset"]
		if err == nil && media == "application/json" && (!given || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return mfa.Errorf(mfa.Invalid, mfa.ReasonMediaType, "The body of this request is sent as application/json.")
}

// checkJSON checks the form alone: syntax, members once each, depth, no null.
func checkJSON(body []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) && d.StackDepth() == 0 {
			return checkOne(body)
		}
		if err != nil {
			return decodeError(err)
		}
		if token.Kind() == 'n' {
			return mfa.InvalidField(field(d.StackPointer()), "A member without a value is left out; null is not taken.")
		}
		if d.StackDepth() > MaxDepth {
			return mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The JSON of this request is nested too deep.")
		}
	}
}

// checkOne refuses an empty body. More than one value is refused when it is unmarshalled.
func checkOne(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "This request has a JSON body, and none was sent.")
	}
	return nil
}

func decodeError(err error) *mfa.Error {
	out := &mfa.Error{Code: mfa.Invalid, Reason: mfa.ReasonMalformed, Err: err}
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic):
		out.Field = field(semantic.JSONPointer)
		out.Message = "A member of the request has a value of another kind than it takes."
		if errors.Is(err, json.ErrUnknownName) {
			out.Message = "The request has a member that is not known here."
		}
	case errors.As(err, &syntactic):
		out.Message = "The body of the request is not valid JSON."
		if errors.Is(err, jsontext.ErrDuplicateName) {
			out.Field = field(syntactic.JSONPointer)
			out.Message = "The request has a member twice."
		}
	default:
		out.Message = "The body of the request is not valid JSON."
	}
	return out
}

// field gives a JSON pointer in the words of the request, such as details.0.label, or "" if
// it is too long or odd to be repeated.
func field(p jsontext.Pointer) string {
	var names []string
	total := 0
	for name := range p.Tokens() {
		total += len(name) + 1
		for _, c := range []byte(name) {
			if c <= ' ' || c > '~' {
				return ""
			}
		}
		names = append(names, name)
	}
	if total > maxField {
		return ""
	}
	return strings.Join(names, ".")
}
