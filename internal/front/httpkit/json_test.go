package httpkit_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
)

type order struct {
	User    string   `json:"user"`
	Count   int      `json:"count,omitempty"`
	Details []detail `json:"details,omitempty"`
	Deep    any      `json:"deep,omitempty"`
}

type detail struct {
	Label string `json:"label"`
}

func request(contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	want := order{User: "alice", Count: 3, Details: []detail{{"a"}}}
	const body = ` {"user":"alice","count":3,"details":[{"label":"a"}]} ` + "\n"
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", `Application/JSON; charset="UTF-8"`} {
		got, err := httpkit.DecodeJSON[order](request(contentType, body))
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v, (-want +got):\n%s", contentType, err, d)
		}
	}
	deep := `{"user":"a","deep":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + "}"
	if _, err := httpkit.DecodeJSON[order](request("application/json", deep)); err != nil {
		t.Errorf("eight deep: %v", err)
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2"
	for _, tc := range []struct {
		name, contentType, body string
		status                  int
		field                   string
	}{
		{"no type", "", `{}`, 415, ""},
		{"form", "application/x-www-form-urlencoded", `{}`, 415, ""},
		{"text", "text/json", `{}`, 415, ""},
		{"other charset", "application/json; charset=latin1", `{}`, 415, ""},
		{"bad type", "application/json; x", `{}`, 415, ""},
		{"problem", "application/problem+json", `{}`, 415, ""},
		{"empty", "application/json", "", 400, ""},
		{"space", "application/json", " \n", 400, ""},
		{"cut", "application/json", `{"user":"hunter2`, 400, ""},
		{"no JSON", "application/json", `hunter2`, 400, ""},
		{"comment", "application/json", `{"user":"a"} // hunter2`, 400, ""},
		{"trailing comma", "application/json", `{"user":"a",}`, 400, ""},
		{"second value", "application/json", `{"user":"a"}{"user":"hunter2"}`, 400, ""},
		{"second brace", "application/json", `{"user":"a"}}`, 400, ""},
		{"unknown", "application/json", `{"user":"a","admin":"hunter2"}`, 400, "admin"},
		{"unknown inside", "application/json", `{"user":"a","details":[{"label":"x"},{"lable":"hunter2"}]}`, 400, "details.1.lable"},
		{"other case", "application/json", `{"User":"hunter2"}`, 400, "User"},
		{"twice", "application/json", `{"user":"a","user":"hunter2"}`, 400, "user"},
		{"twice, escaped", "application/json", `{"user":"a","\u0075ser":"hunter2"}`, 400, "user"},
		{"twice inside", "application/json", `{"user":"a","deep":{"x":1,"x":2}}`, 400, "deep.x"},
		{"null", "application/json", `{"user":null}`, 400, "user"},
		{"null inside", "application/json", `{"user":"a","deep":[1,null]}`, 400, "deep.1"},
		{"null alone", "application/json", `null`, 400, ""},
		{"wrong kind", "application/json", `{"user":"a","count":"hunter2"}`, 400, "count"},
		{"fraction", "application/json", `{"user":"a","count":1.5}`, 400, "count"},
		{"array", "application/json", `["hunter2"]`, 400, ""},
		{"bad UTF-8", "application/json", "{\"user\":\"\xff\"}", 400, ""},
		{"lone surrogate", "application/json", `{"user":"\ud800"}`, 400, ""},
		{"byte order mark", "application/json", "\ufeff{}", 400, ""},
		{"nine deep", "application/json", `{"deep":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`, 400, ""},
		{"very deep", "application/json", strings.Repeat("[", 100_000), 400, ""},
		{"long name", "application/json", `{"` + strings.Repeat("a", 100) + `":1}`, 400, ""},
		{"odd name", "application/json", `{"a\nb":1}`, 400, ""},
	} {
		_, err := httpkit.DecodeJSON[order](request(tc.contentType, tc.body))
		e, ok := errors.AsType[*mfa.Error](err)
		if !ok || e.Code != mfa.Invalid || httpkit.Status(err) != tc.status || e.Field != tc.field || e.Message == "" {
			t.Errorf("%s: %+v", tc.name, err)
			continue
		}
		p, err := json.Marshal(httpkit.NewProblem(get("/"), err))
		if err != nil || strings.Contains(string(p), hidden) {
			t.Errorf("%s: the problem repeats the value: %s, %v", tc.name, p, err)
		}
	}
}

func TestDecodeJSONTooLarge(t *testing.T) {
	t.Parallel()
	r := request("application/json", `{"user":"`+strings.Repeat("a", 100)+`"}`)
	r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, 50)
	if _, err := httpkit.DecodeJSON[order](r); httpkit.Status(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("got %v", err)
	}
}

// FuzzDecodeJSON checks that nothing is taken that the standard library reads otherwise.
func FuzzDecodeJSON(f *testing.F) {
	f.Add(`{"user":"alice","count":3,"details":[{"label":"a"}]}`)
	f.Add(`{"user":null}`)
	f.Add(`{"user":"a","user":"b"}`)
	f.Add(`[[[[[[[[[`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := httpkit.DecodeJSON[order](request("application/json", body))
		if err != nil {
			if mfa.CodeOf(err) != mfa.Invalid {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		var want order
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatalf("%q is taken here only: %v", body, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q is read otherwise (-want +got):\n%s", body, d)
		}
	})
}
