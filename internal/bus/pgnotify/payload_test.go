package pgnotify

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/bus"
)

func TestPayloadRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[!-~]{1,200}`)
		want := rapid.SliceOfN(key, 0, 300).Draw(t, "keys")
		wantLost := rapid.Bool().Draw(t, "lost")
		var got []string
		lost := false
		all := payloads("node", want, wantLost)
		for _, p := range all {
			if len(p) > maxPayload {
				t.Fatalf("a payload has %d bytes", len(p))
			}
			node, keys, l := parsePayload(p)
			if node != "node" {
				t.Fatalf("sent by %q", node)
			}
			got = append(got, keys...)
			lost = lost || l
		}
		if lost != wantLost || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("lost %v, keys:\n%s", lost, cmp.Diff(want, got))
		}
		total := 0
		for _, k := range want {
			total += len(k) + 1
		}
		if most := total/(maxPayload-len("node")-bus.MaxKey-1) + 1; len(all) > most {
			t.Fatalf("%d payloads for %d bytes", len(all), total)
		}
	})
}

func FuzzParsePayload(f *testing.F) {
	f.Add("")
	f.Add("node")
	f.Add("node\nch_a\nall keys\n\n\x00\nü")
	f.Fuzz(func(t *testing.T, payload string) {
		_, keys, _ := parsePayload(payload)
		for _, k := range keys {
			if !bus.Valid(k) {
				t.Fatalf("%q is no key", k)
			}
		}
	})
}
