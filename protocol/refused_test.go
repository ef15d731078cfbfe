package protocol

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

func find(good []vector, name string) vector {
	i := slices.IndexFunc(good, func(v vector) bool { return v.Name == name })
	return good[i]
}

func parts(raw string) (header, payload, sig []byte) {
	p := strings.Split(raw, ".")
	header, _ = decode64(p[0])
	payload, _ = decode64(p[1])
	sig, _ = decode64(p[2])
	return header, payload, sig
}

// refusedBytes breaks the rules about the compact form and about JSON.
func (w *world) refusedBytes(good []vector) []vector {
	base := find(good, "deny").JWS
	h, p, sig := parts(base)
	part := strings.Split(base, ".")
	var out []vector
	add := func(name, rule, raw string) {
		out = append(out, vector{Name: name, Rule: rule, Type: TypeDecision, JWS: raw, Error: "malformed"})
	}
	const b64, three = "canonical base64url", "three parts"
	for i, name := range []string{"header", "payload", "signature"} {
		change := func(f func(string) string) string {
			q := slices.Clone(part)
			q[i] = f(q[i])
			return strings.Join(q, ".")
		}
		add("padding after the "+name, b64, change(func(s string) string { return s + "=" }))
		add("line break in the "+name, b64, change(func(s string) string { return s[:8] + "\n" + s[8:] }))
		add("carriage return in the "+name, b64, change(func(s string) string { return s[:8] + "\r" + s[8:] }))
		add("space in the "+name, b64, change(func(s string) string { return s[:8] + " " + s[8:] }))
		add("plus in the "+name, b64, change(func(s string) string { return s[:8] + "+" + s[9:] }))
		add("one character short in the "+name, b64, change(func(s string) string { return s[:len(s)-len(s)%4] + "A" }))
	}
	add("stray bits in the header", b64, strayBits(signPadded(w.device, h, p, 0), 0))
	add("stray bits in the payload", b64, strayBits(signPadded(w.device, h, p, 1), 1))
	add("stray bits in the signature", b64, strayBits(base, 2))
	add("line break after the message", b64, base+"\n")
	add("two parts", three, part[0]+"."+part[1])
	add("four parts", three, base+".")
	add("no bytes", three, "")
	add("a JSON serialization", three, string(marshal(map[string]string{"protected": part[0], "payload": part[1], "signature": part[2]})))
	add("empty signature", "signature of 64 bytes", part[0]+"."+part[1]+".")
	add("signature of 63 bytes", "signature of 64 bytes", part[0]+"."+part[1]+"."+encode64(sig[:63]))
	add("signature of 65 bytes", "signature of 64 bytes", part[0]+"."+part[1]+"."+encode64(append(sig[:64:64], 0)))
	add("header over 2 KiB", "sizes", signRaw(w.device, append(slices.Clone(h), bytes.Repeat([]byte(" "), MaxHeader)...), p))
	add("message over 16 KiB", "sizes", signRaw(w.device, h, append(slices.Clone(p), bytes.Repeat([]byte(" "), 12<<10)...)))

	json := func(name, rule, header, payload string) {
		add(name, rule, signRaw(w.device, []byte(header), []byte(payload)))
	}
	head, pay := string(h), string(p)
	digest := PromptSHA256(w.promptBytes)
	open := strings.TrimSuffix(pay, "}")
	const form, twice, null, ints = "UTF-8 JSON objects", "each name once", "no null", "integers only, at most 2^53-1"
	json("header is no JSON", form, "alg", pay)
	json("header is an array", form, "["+head+"]", pay)
	json("header is empty", form, "", pay)
	json("payload is an array", form, head, "["+pay+"]")
	json("payload is empty", form, head, "")
	json("payload is a string", form, head, `"approve"`)
	json("payload with a byte order mark", form, head, "\ufeff"+pay)
	json("payload is not UTF-8", form, head, open+`,"x":"`+"\xff"+`"}`)
	json("payload with half a surrogate pair", form, head, strings.Replace(pay, testChal, `ch_\ud800`, 1))
	json("payload with a control character", form, head, strings.Replace(pay, testChal, "ch_\n", 1))
	json("payload cut short", form, head, open)
	json("payload with a trailing comma", form, head, open+",}")
	json("bytes after the payload", form, head, pay+"{}")
	json("bytes after the header", form, head+"{}", pay)
	json("a comment in the payload", form, head, pay+"//")
	json("decision twice", twice, head, open+`,"decision":"deny"}`)
	json("decision twice, once escaped", twice, head, open+`,"\u0064ecision":"deny"}`)
	json("alg twice", twice, strings.TrimSuffix(head, "}")+`,"alg":"ES256"}`, pay)
	json("v and V", "names are case-sensitive", head, open+`,"V":1}`)
	json("v is 1.0", ints, head, strings.Replace(pay, `"v":1`, `"v":1.0`, 1))
	json("v is 1e0", ints, head, strings.Replace(pay, `"v":1`, `"v":1e0`, 1))
	json("v is -0", ints, head, strings.Replace(pay, `"v":1`, `"v":-0`, 1))
	json("v is a text", ints, head, strings.Replace(pay, `"v":1`, `"v":"1"`, 1))
	json("v is true", ints, head, strings.Replace(pay, `"v":1`, `"v":true`, 1))
	json("v is 2^53", ints, head, strings.Replace(pay, `"v":1`, `"v":9007199254740992`, 1))
	json("v is beyond 64 bits", ints, head, strings.Replace(pay, `"v":1`, `"v":36893488147419103233`, 1))
	json("prompt_sha256 is null", null, head, strings.Replace(pay, `"`+digest+`"`, "null", 1))
	json("challenge is a list", "JSON types", head, strings.Replace(pay, `"`+testChal+`"`, `["`+testChal+`"]`, 1))
	json("five deep", "depth at most 4", head, open+`,"x":[[[[]]]]}`)
	json("ten thousand deep", "depth at most 4", head, open+`,"x":`+strings.Repeat("[", 3000)+strings.Repeat("]", 3000)+"}")
	nested := find(good, "approve with user verification").JWS
	nh, np, _ := parts(nested)
	json("a name twice inside uv", twice, string(nh), strings.Replace(string(np), `"id":"AQID"`, `"id":"AQID","id":"AQID"`, 1))
	json("an unknown name inside uv", "no unknown members", string(nh), strings.Replace(string(np), `"id":"AQID"`, `"id":"AQID","type":"x"`, 1))
	json("null inside uv", null, string(nh), strings.Replace(string(np), `"id":"AQID"`, `"id":null`, 1))
	return out
}

// signPadded signs with white space in one part until its last character has unused bits.
func signPadded(k fixedKey, header, payload []byte, which int) string {
	both := [2][]byte{slices.Clone(header), slices.Clone(payload)}
	for len(both[which])%3 == 0 {
		both[which] = append(both[which], ' ')
	}
	return signRaw(k, both[0], both[1])
}

// strayBits sets an unused bit of the last character of a part.
func strayBits(raw string, which int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	p := strings.Split(raw, ".")
	last := len(p[which]) - 1
	i := strings.IndexByte(alphabet, p[which][last])
	p[which] = p[which][:last] + string(alphabet[i|1])
	return strings.Join(p, ".")
}

// refusedHeaders breaks the rules about header members, typ, url, nonce and signature.
func (w *world) refusedHeaders(good []vector) []vector {
	var out []vector
	edit := func(name, rule, base, kind string, f func(map[string]any)) {
		v := find(good, base)
		h, p, _ := parts(v.JWS)
		var m map[string]any
		if err := json.Unmarshal(h, &m); err != nil {
			panic(err)
		}
		f(m)
		out = append(out, vector{Name: name, Rule: rule, Type: v.Type, JWS: signRaw(w.signers()[v.Key], marshal(m), p), Error: kind})
	}
	set := func(member string, value any) func(map[string]any) {
		return func(m map[string]any) { m[member] = value }
	}
	drop := func(member string) func(map[string]any) { return func(m map[string]any) { delete(m, member) } }
	const exact = "exact header members"
	for _, alg := range []any{"none", "HS256", "ES384", "EdDSA", "es256", ""} {
		edit("alg "+alg.(string), "ES256 only", "deny", "malformed", set("alg", alg))
	}
	for member, value := range map[string]any{"crit": []string{"b64"}, "b64": false, "jku": "https://evil.example", "x5u": "https://evil.example", "x5c": []string{"MAA="}, "cty": "JWT", "KID": testOther} {
		edit(member+" in the header", "no unknown members", "deny", "malformed", set(member, value))
	}
	slices.SortFunc(out, func(a, b vector) int { return strings.Compare(a.Name, b.Name) })
	edit("jwk beside kid", exact, "deny", "malformed", set("jwk", w.device.jwk()))
	edit("kid beside jwk", exact, "enrol", "malformed", set("kid", testDevice))
	edit("nonce in a decision", exact, "deny", "malformed", set("nonce", testNonce))
	edit("nonce in a stamp", exact, "stamp", "malformed", set("nonce", testNonce))
	edit("nonce in an enrolment", exact, "enrol", "malformed", set("nonce", testNonce))
	edit("nonce beside a challenge", exact, "poll for a challenge", "malformed", set("nonce", testNonce))
	edit("url in a prompt", exact, "prompt", "malformed", set("url", testIssuer))
	edit("url in a new key", exact, "new key", "malformed", set("url", testIssuer))
	for _, base := range []string{"deny", "poll", "enrol", "prompt", "browser", "new key"} {
		v := find(good, base)
		h, _, _ := parts(v.JWS)
		for _, member := range []string{"alg", "kid", "jwk", "url", "typ", "nonce"} {
			if !bytes.Contains(h, []byte(`"`+member+`"`)) {
				continue
			}
			kind := "malformed"
			if member == "nonce" {
				kind = "nonce"
			}
			edit(base+" without "+member, exact, base, kind, drop(member))
		}
	}
	edit("poll with an empty nonce", exact, "poll", "malformed", set("nonce", ""))
	edit("kid is null", "no null", "deny", "malformed", set("kid", nil))
	edit("kid is a number", "JSON types", "deny", "malformed", set("kid", 7))
	edit("kid with a slash", "kid is an id", "deny", "malformed", set("kid", "dev_/../x"))
	edit("jwk with a private key", exact, "enrol", "malformed", set("jwk", map[string]string{"kty": "EC", "crv": "P-256", "x": w.device.jwk().X, "y": w.device.jwk().Y, "d": testSecret}))
	edit("jwk without y", exact, "enrol", "malformed", set("jwk", map[string]string{"kty": "EC", "crv": "P-256", "x": w.device.jwk().X}))
	edit("jwk on another curve", "P-256 only", "enrol", "malformed", set("jwk", JWK{"EC", "P-384", w.device.jwk().X, w.device.jwk().Y}))
	edit("jwk off the curve", "P-256 only", "enrol", "malformed", set("jwk", JWK{"EC", "P-256", w.device.jwk().X, w.device.jwk().X}))
	edit("jwk at infinity", "P-256 only", "enrol", "malformed", set("jwk", JWK{"EC", "P-256", encode64(make([]byte, 32)), encode64(make([]byte, 32))}))
	edit("jwk with a short coordinate", "P-256 only", "enrol", "malformed", set("jwk", JWK{"EC", "P-256", encode64(make([]byte, 31)), w.device.jwk().Y}))
	edit("a deny as stamp", "typ tells messages apart", "deny", "typ", set("typ", TypeStamp))
	edit("a deny as JWT", "typ tells messages apart", "deny", "typ", set("typ", "JWT"))
	edit("a typ in capitals", "typ tells messages apart", "deny", "typ", set("typ", "NOD-DECISION+JWS"))
	edit("another host", "url is configured", "deny", "url", set("url", "https://evil.example"+PathDecisions))
	edit("another path", "url is configured", "deny", "url", set("url", testIssuer+PathStamps))
	edit("a query behind the url", "url is configured", "deny", "url", set("url", testIssuer+PathDecisions+"?x=1"))

	deny, approve := find(good, "deny"), find(good, "approve by digits")
	forged := func(name, raw string) {
		out = append(out, vector{Name: name, Rule: "signature by the key", Type: TypeDecision, JWS: raw, Error: "signature"})
	}
	h, p, _ := parts(approve.JWS)
	d, a := strings.Split(deny.JWS, "."), strings.Split(approve.JWS, ".")
	forged("an approval by another key", signRaw(w.stranger, h, p))
	forged("an approval with the deny's signature", a[0]+"."+a[1]+"."+d[2])
	forged("an approval with a signature of zeros", a[0]+"."+a[1]+"."+encode64(make([]byte, 64)))
	forged("an approval whose answer was changed", a[0]+"."+encode64(bytes.Replace(p, []byte("042137"), []byte("042138"), 1))+"."+a[2])
	forged("an approval for another device", encode64(bytes.Replace(h, []byte(testDevice), []byte(testOther), 1))+"."+a[1]+"."+a[2])
	return out
}

// refusedMembers takes from each good message one member at a time, and adds, renames and
// nulls one.
func (w *world) refusedMembers(good []vector) []vector {
	var out []vector
	done := make(map[Type]bool)
	for _, v := range good {
		if done[v.Type] {
			continue
		}
		done[v.Type] = true
		if v.Type == TypeDecision {
			v = find(good, "approve by digits")
		}
		h, p, _ := parts(v.JWS)
		add := func(name, rule, kind string, payload []byte) {
			out = append(out, vector{Name: string(v.Type) + name, Rule: rule, Type: v.Type, JWS: signRaw(w.signers()[v.Key], h, payload), Error: kind})
		}
		newer := "malformed"
		if codecs[v.Type].signedByServer {
			newer = "update"
		}
		var m map[string]any
		if err := json.Unmarshal(p, &m); err != nil {
			panic(err)
		}
		names := make([]string, 0, len(m))
		for name := range m {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if v.Type == TypeNotice && name == "device" {
				continue
			}
			rest := make(map[string]any)
			for k, value := range m {
				if k != name {
					rest[k] = value
				}
			}
			add(" without "+name, "no missing members", "malformed", marshal(rest))
		}
		open := strings.TrimSuffix(string(p), "}")
		add(" with an unknown member", "no unknown members", newer, []byte(open+`,"extra":true}`))
		add(" of v 2", "v is 1", newer, bytes.Replace(p, []byte(`"v":1`), []byte(`"v":2`), 1))
		add(" with V in place of v", "names are case-sensitive", newer, bytes.Replace(p, []byte(`"v":1`), []byte(`"V":1`), 1))
		add(" with null", "no null", "malformed", bytes.Replace(p, []byte(`"v":1`), []byte(`"v":null`), 1))
	}
	return out
}
