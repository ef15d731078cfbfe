package pgnotify

import (
	"strings"

	"github.com/nodauth/nod/internal/bus"
)

// maxPayload is the greatest payload in bytes; PostgreSQL takes less than 8000.
const maxPayload = 7900

// allKeys stands in a payload for every key: the node that sent it lost some. It is no valid
// key, as it has a space.
const allKeys = "all keys"

// payloads packs keys, each valid, into as few payloads as their order allows. A payload is
// the sender's id and the keys, one a line.
func payloads(node string, keys []string, lost bool) []string {
	var out []string
	var b strings.Builder
	b.WriteString(node)
	flush := func() {
		if b.Len() > len(node) {
			out = append(out, b.String())
			b.Reset()
			b.WriteString(node)
		}
	}
	add := func(line string) {
		if b.Len()+1+len(line) > maxPayload {
			flush()
		}
		b.WriteByte('\n')
		b.WriteString(line)
	}
	if lost {
		add(allKeys)
	}
	for _, k := range keys {
		add(k)
	}
	flush()
	return out
}

// parsePayload reads a payload. Whoever may use the database can send one, so lines that
// are no keys are passed over.
func parsePayload(payload string) (node string, keys []string, lost bool) {
	node, rest, _ := strings.Cut(payload, "\n")
	for line := range strings.SplitSeq(rest, "\n") {
		if line == allKeys {
			lost = true
		} else if bus.Valid(line) {
			keys = append(keys, line)
		}
	}
	return node, keys, lost
}
