package rest

import (
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/plain"
)

// FuzzNewChallenge: a body is refused as invalid, without a value of its own in the answer, or it is
// within every bound that the document names.
func FuzzNewChallenge(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"user":{"name":"kim"},"kind":"login"}`, `{"user":{"name":"kim"},"kind":"login","reason":"a\u202e"}`,
		`{"user":{"id":"usr_aaaaaaaaaaaaaaaaaaaaaaaaaa"},"kind":"step_up","match":["scan"],"min_bits":20,"details":[{"label":"a","value":"b"}]}`,
		`{"USER":{"name":"kim"},"kind":"login"}`, `{"user":{"name":"kim"},"kind":"login","password":"secret-value-7"}`, `null`, `[]`, `{"kind":1e400}`,
		`{"user":{"name":"kim"},"kind":"login","context":{"ip":"::ffff:1.2.3.4"},"nonce":null}`,
	} {
		f.Add(seed)
	}
	d := newDocument()
	ref := d.Components.Schemas.Schema(reflect.TypeFor[newChallengeShape](), true, "")
	schema := d.Components.Schemas.SchemaFromRef(ref.Ref)
	finishDocument(d)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/challenges", nil)
		r.Header.Set("Content-Type", "application/json")
		n, err := decode[newChallengeShape](d.Components.Schemas, schema, r, []byte(body))
		if err != nil {
			if mfa.CodeOf(err) != mfa.Invalid {
				t.Fatalf("refused with %v", err)
			}
			if strings.Contains(err.Error(), "secret-value") && strings.Contains(body, `"secret-value`) {
				t.Errorf("%v repeats what was sent", err)
			}
			return
		}
		if (n.User.ID == "") == (n.User.Name == "") || len(n.Details) > 10 || len(n.Match) > 6 || !plain.Text(n.Reason, 200) || n.MinBits > 128 {
			t.Errorf("took %+v", n)
		}
		for _, d := range n.Details {
			if !plain.Text(d.Label, 40) || d.Label == "" || !plain.Text(d.Value, 200) {
				t.Errorf("took detail %+v", d)
			}
		}
	})
}
