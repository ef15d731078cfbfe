package rest

import (
	"encoding/json"
	"regexp"
	"testing"
)

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return text
}

var retrySeconds = regexp.MustCompile(`"retry_after":\d+`)

func withoutRetry(s string) string { return retrySeconds.ReplaceAllString(s, `"retry_after":0`) }
