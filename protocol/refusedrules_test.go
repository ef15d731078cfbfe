package protocol

import (
	"encoding/json"
	"strings"
)

// edits is which member of which good message gets which bad value; a dot goes into an object
// or to a place in a list.
var edits = []struct {
	base, rule, member string
	value              any
}{
	{"enrol", "ticket form", "ticket", "short"},
	{"enrol", "ticket form", "ticket", testTicket + "/"},
	{"enrol", "name 1 to 64 characters", "name", ""},
	{"enrol", "name 1 to 64 characters", "name", strings.Repeat("ä", 65)},
	{"enrol", "no control, direction or line characters", "name", "a\u0000b"},
	{"enrol", "no control, direction or line characters", "name", "a\nb"},
	{"enrol", "no control, direction or line characters", "name", "a\u202eb"},
	{"enrol", "no control, direction or line characters", "name", "a\u2066b"},
	{"enrol", "no control, direction or line characters", "name", "a\u2028b"},
	{"enrol", "platform", "platform", "windows"},
	{"enrol", "platform", "platform", ""},
	{"enrol", "features", "features", []string{"uv", "uv"}},
	{"enrol", "features", "features", []string{"U V"}},
	{"enrol", "JSON types", "features", "uv"},
	{"enrol", "JSON types", "features", []int{1}},
	{"poll that waits", "wait 0 to 25", "wait", 26},
	{"poll that waits", "wait 0 to 25", "wait", -1},
	{"poll that waits", "integers only, at most 2^53-1", "wait", 1.5},
	{"poll that waits", "keys_serial not negative", "keys_serial", -1},
	{"poll that waits", "ids", "have", []string{""}},
	{"poll that waits", "ids", "have", []string{"ch/x"}},
	{"poll for a challenge", "optional texts are left out when empty", "challenge", ""},
	{"poll for a challenge", "ids", "challenge", "ch c"},
	{"approve by digits", "decision", "decision", "Approve"},
	{"approve by digits", "decision", "decision", "maybe"},
	{"approve by digits", "only an approval has more members", "decision", "deny"},
	{"approve by digits", "only an approval has more members", "decision", "report"},
	{"approve by digits", "match", "match", "face"},
	{"approve by digits", "match", "match", ""},
	{"approve by digits", "answer form", "answer", "42137"},
	{"approve by digits", "answer form", "answer", "0421370"},
	{"approve by digits", "answer form", "answer", " 42137"},
	{"approve by digits", "answer form", "answer", "04213٧"},
	{"approve by digits", "answer form", "answer", ""},
	{"approve by digits", "JSON types", "answer", 42137},
	{"approve by digits", "JSON types", "answer", []string{"042137"}},
	{"approve by digits", "answer form", "match", "tap"},
	{"approve by digits", "answer form", "match", "digits_back"},
	{"approve by digits", "answer form", "match", "number"},
	{"approve by digits", "answer form", "match", "scan"},
	{"approve by number", "answer form", "answer", "7"},
	{"approve by choice", "answer form", "answer", "4a"},
	{"approve by tap", "answer form", "answer", "00"},
	{"approve by tap", "optional texts are left out when empty", "answer", ""},
	{"approve by digits_back", "answer form", "answer", "123456"},
	{"approve by scan, remember the browser", "answer form", "answer", testSecret[:21]},
	{"approve by scan, remember the browser", "answer form", "answer", testSecret[:21] + "B"},
	{"approve by scan, remember the browser", "answer form", "answer", "NOD1:" + testChal + "." + testSecret},
	{"approve by scan, remember the browser", "JSON types", "remember", "true"},
	{"approve by digits", "prompt_sha256 is a digest", "prompt_sha256", ""},
	{"approve by digits", "prompt_sha256 is a digest", "prompt_sha256", testSecret},
	{"approve by digits", "shown_ms not negative", "shown_ms", -1},
	{"approve by digits", "locale", "locale", "pt PT"},
	{"approve with user verification", "base64url", "uv.signature", "MAA="},
	{"approve with user verification", "base64url", "uv.id", ""},
	{"deny", "prompt_sha256 is a digest", "prompt_sha256", "x"},
	{"deny", "optional texts are left out when empty", "prompt_sha256", ""},
	{"deny", "only an approval has more members", "match", "tap"},
	{"deny", "only an approval has more members", "remember", true},
	{"report", "only an approval has more members", "shown_ms", 1},
	{"stamp", "stamp", "stamp", "read"},
	{"stamp", "ms not negative", "ms", -1},
	{"targets", "seq positive", "seq", 0},
	{"targets", "target members by kind", "targets.0.kind", "ntfy"},
	{"targets", "target members by kind", "targets.1.kind", "smoke"},
	{"targets", "target members by kind", "targets.1.url", "https://x.example"},
	{"targets", "https, or http to loopback", "targets.2.url", "http://ntfy.example.net/topic"},
	{"targets", "https, or http to loopback", "targets.2.url", "file:///etc/passwd"},
	{"targets", "https, or http to loopback", "targets.2.url", "https://user:pass@ntfy.example.net/"},
	{"targets", "https, or http to loopback", "targets.0.endpoint", "push.example.net/x"},
	{"targets", "base64url", "targets.0.p256dh", "BAAA"},
	{"targets", "base64url", "targets.0.auth", "AAAA"},
	{"new key", "old_thumbprint is a digest", "old_thumbprint", "x"},
	{"rotate", "inner is a nod-newkey+jws", "inner", "x.y.z"},
	{"rotate", "seq positive", "seq", -1},
	{"name", "name 1 to 64 characters", "name", ""},
	{"lock", "base64url", "registration.id", "+/"},
	{"history, next page", "optional texts are left out when empty", "cursor", ""},
	{"history, next page", "cursor", "cursor", "a b"},
	{"veto", "ids", "device", ""},
	{"veto", "ids", "enrolment", "x/y"},
	{"unenrol", "seq positive", "seq", 0},
	{"browser", "user 1 to 255 characters", "user", ""},
	{"browser", "no control, direction or line characters", "user", "jo\u200f"},
	{"keys", "serial positive", "serial", 0},
	{"keys", "P-256 only", "next.x", strings.Repeat("A", 43)},
	{"keys", "next differs from current", "next", nil}, // nil: current, see below
	{"keys", "https, or http to loopback", "iss", "http://login.example.com"},
	{"enrolled", "six digits", "confirm_code", "12345"},
	{"enrolled", "keys is a nod-keys+jws", "keys", "x"},
	{"enrolled", "times positive", "confirm_by", 0},
	{"prompt", "match not empty", "match", []string{}},
	{"prompt", "match", "match", []string{"scan", "digits", "face"}},
	{"prompt", "match", "match", []string{"scan", "scan"}},
	{"prompt", "below 20 bits only beside scan and digits", "match", []string{"choice", "digits"}},
	{"prompt", "three choices with choice", "choices", []string{"07", "42"}},
	{"prompt", "three choices with choice", "choices", []string{"07", "42", "42"}},
	{"prompt", "three choices with choice", "choices", []string{"07", "42", "9"}},
	{"prompt without choices", "three choices with choice", "choices", []string{"07", "42", "99"}},
	{"prompt", "kind", "kind", "payment"},
	{"prompt", "no control, direction or line characters", "app.name", "Pay\u202eroll"},
	{"prompt", "no control, direction or line characters", "reason", "a\tb"},
	{"prompt", "reason at most 200 characters", "reason", strings.Repeat("r", 201)},
	{"prompt", "label 1 to 40 characters", "details.0.label", ""},
	{"prompt", "label 1 to 40 characters", "details.0.label", strings.Repeat("l", 41)},
	{"prompt", "value at most 200 characters", "details.0.value", strings.Repeat("v", 201)},
	{"prompt", "place_confidence", "context.place_confidence", "sure"},
	{"prompt", "reported_by", "context.reported_by", "device"},
	{"prompt", "icon_sha256 is a digest or empty", "app.icon_sha256", "x"},
	{"prompt", "decide_by after at", "decide_by", 1763788800000},
	{"prompt", "JSON types", "context.known_browser", 1},
	{"notice", "kind", "kind", "party"},
	{"notice", "by", "by", "nobody"},
	{"notice", "ids", "device.id", ""},
	{"notice", "times positive", "at", 0},
}

// refusedRules gives one member at a time a value against its rule.
func (w *world) refusedRules(good []vector) []vector {
	var out []vector
	for _, e := range edits {
		v := find(good, e.base)
		h, p, _ := parts(v.JWS)
		var m map[string]any
		if err := json.Unmarshal(p, &m); err != nil {
			panic(err)
		}
		value := e.value
		if value == nil {
			value = m["current"]
		}
		edit(m, strings.Split(e.member, "."), value)
		out = append(out, vector{
			Name: e.base + ": " + e.member, Rule: e.rule, Type: v.Type, Error: "malformed",
			JWS: signRaw(w.signers()[v.Key], h, marshal(m)),
		})
	}
	nested := find(good, "prompt")
	h, p, _ := parts(nested.JWS)
	out = append(out, vector{
		Name: "an unknown member inside a prompt's context", Rule: "no unknown members", Type: TypePrompt, Error: "update",
		JWS: signRaw(w.realm1, h, []byte(strings.Replace(string(p), `"ip":`, `"asn":"AS64496","ip":`, 1))),
	})
	return out
}

func edit(at any, path []string, value any) {
	switch v := at.(type) {
	case map[string]any:
		if len(path) == 1 {
			v[path[0]] = value
			return
		}
		edit(v[path[0]], path[1:], value)
	case []any:
		edit(v[int(path[0][0]-'0')], path[1:], value)
	}
}
