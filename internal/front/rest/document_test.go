package rest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
)

var update = flag.Bool("update", false, "write openapi.json")

// made gives the document as the routes make it.
func made(t *testing.T) []byte {
	t.Helper()
	text, err := json.Marshal(newServer(t).handler.document)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func TestDocumentIsTheCommittedOne(t *testing.T) {
	t.Parallel()
	got := made(t)
	if *update {
		if err := os.WriteFile("openapi.json", got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(openapi), string(got)); diff != "" {
		t.Errorf("openapi.json is not what the routes make; go test ./internal/front/rest -run TestDocument -update (-committed +made):\n%s", diff)
	}
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Summary == "" || op.OperationID == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s: no summary, operationId or tag", method, path)
			}
		}
	}
}

func TestDocumentListsCodesAndReasons(t *testing.T) {
	t.Parallel()
	for _, c := range mfa.Codes() {
		if codeTexts[c] == "" {
			t.Errorf("code %s is not explained", c)
		}
	}
	for _, r := range mfa.Reasons() {
		if !slices.ContainsFunc(reasonTexts, func(x reasonText) bool { return x.reason == r && x.text != "" }) {
			t.Errorf("reason %s is not explained", r)
		}
		if !bytes.Contains(openapi, []byte(r)) {
			t.Errorf("reason %s is not in the document", r)
		}
	}
}
