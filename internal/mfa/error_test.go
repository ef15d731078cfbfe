package mfa_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
)

func TestErrorHelpers(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk full")
	e := &mfa.Error{Code: mfa.Gone, Reason: mfa.ReasonExpired, Message: "Too late.", Err: cause}
	for _, tt := range []struct {
		name   string
		err    error
		code   mfa.Code
		reason mfa.Reason
		text   string
	}{
		{"nil", nil, "", "", ""},
		{"foreign", cause, mfa.Internal, "", "disk full"},
		{"own", e, mfa.Gone, mfa.ReasonExpired, "gone (expired): Too late.: disk full"},
		{"wrapped", fmt.Errorf("redeem: %w", e), mfa.Gone, mfa.ReasonExpired, "redeem: gone (expired): Too late.: disk full"},
		{"formatted", mfa.Errorf(mfa.Conflict, mfa.ReasonOwner, "%d owners.", 2), mfa.Conflict, mfa.ReasonOwner, "conflict (owner): 2 owners."},
		{"field", mfa.InvalidField("name", "Too %s.", "long"), mfa.Invalid, mfa.ReasonMalformed, "invalid (malformed): Too long."},
		{"not found", mfa.ErrNotFound(), mfa.NotFound, "", "not_found: " + mfa.ErrNotFound().Message},
	} {
		if got := mfa.CodeOf(tt.err); got != tt.code {
			t.Errorf("%s: CodeOf = %q, want %q", tt.name, got, tt.code)
		}
		if got := mfa.ReasonOf(tt.err); got != tt.reason {
			t.Errorf("%s: ReasonOf = %q, want %q", tt.name, got, tt.reason)
		}
		if tt.err != nil && tt.err.Error() != tt.text {
			t.Errorf("%s: Error() = %q, want %q", tt.name, tt.err.Error(), tt.text)
		}
	}
	if !errors.Is(fmt.Errorf("redeem: %w", e), cause) {
		t.Error("the cause is lost")
	}
	if got := mfa.InvalidField("name", "Too long.").Field; got != "name" {
		t.Errorf("Field = %q", got)
	}
}

// constants reads the constants of a type from the package's source.
func constants(t *testing.T, typ string) []string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != typ {
				return true
			}
			for _, v := range spec.Values {
				lit, ok := v.(*ast.BasicLit)
				if !ok {
					continue
				}
				value, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
			return true
		})
	}
	slices.Sort(values)
	return values
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	slices.Sort(out)
	return out
}

// TestListsAreComplete compares each list of a closed set with the constants in the source.
func TestListsAreComplete(t *testing.T) {
	t.Parallel()
	for typ, listed := range map[string][]string{
		"Code":     texts(mfa.Codes()),
		"Reason":   texts(mfa.Reasons()),
		"State":    texts(mfa.States()),
		"Match":    texts(mfa.AllMatches()),
		"Method":   texts(mfa.AllMethods()),
		"Recorded": texts(mfa.Records()),
	} {
		declared := constants(t, typ)
		if len(declared) == 0 {
			t.Errorf("no constant of type %s was found", typ)
		}
		if diff := cmp.Diff(declared, listed); diff != "" {
			t.Errorf("the list of every %s (-declared +listed):\n%s", typ, diff)
		}
		if len(slices.Compact(slices.Clone(declared))) != len(declared) {
			t.Errorf("two constants of type %s have one value", typ)
		}
	}
}
