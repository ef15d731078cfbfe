package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

// TestSlowMessages begins messages that never end. The server does not wait for their end, whoever
// sends them.
func TestSlowMessages(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	for _, path := range []string{protocol.PathEnrol, protocol.PathPrompts, protocol.PathBrowserProofs, "/v1/challenges"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 900\r\n\r\nab", path, protocol.ContentType)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no answer in a minute: %v", err)
			}
			if res.StatusCode < 400 || res.StatusCode >= 500 {
				t.Errorf("status %d", res.StatusCode)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("the connection is held: %v", err)
			}
		})
	}
}

// TestCORS asks as pages do: the authenticator's may use the device protocol, and read the nonce
// and how long to wait; no other page may use anything.
func TestCORS(t *testing.T) {
	t.Parallel()
	const authenticator = "https://authenticator.example.com"
	n := start(t, nodeOptions{authenticator: authenticator})
	const allow, expose = "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"
	for _, tc := range []struct {
		method, path, origin, want string
	}{
		{"OPTIONS", protocol.PathEnrol, authenticator, authenticator},
		{"OPTIONS", protocol.PathPrompts, authenticator, authenticator},
		{"POST", protocol.PathPrompts, authenticator, authenticator},
		{"GET", protocol.PathWellKnown, authenticator, authenticator},
		{"OPTIONS", protocol.PathPrompts, "https://evil.example.com", ""},
		{"OPTIONS", protocol.PathPrompts, authenticator + ".evil.example", ""},
		{"OPTIONS", protocol.PathPrompts, "null", ""},
		{"POST", protocol.PathPrompts, "https://evil.example.com", ""},
		{"OPTIONS", "/v1/challenges", authenticator, ""},
		{"POST", "/v1/challenges", authenticator, ""},
		{"OPTIONS", protocol.PathBrowserProofs, authenticator, ""},
	} {
		a := n.call("", tc.method, tc.path, nil, "Origin", tc.origin, "Access-Control-Request-Method", "POST")
		if got := a.header.Get(allow); got != tc.want {
			t.Errorf("%s %s from %s: %s %q, want %q", tc.method, tc.path, tc.origin, allow, got, tc.want)
		}
		if a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s admits cookies", tc.method, tc.path)
		}
		if got := a.header.Get(expose); tc.method == "POST" && tc.want != "" && got != "Nod-Nonce, Retry-After" {
			t.Errorf("%s %s: %s %q", tc.method, tc.path, expose, got)
		}
	}
}

// TestUnknownDevice says the same to a device that is not known as to one whose signature is wrong.
func TestUnknownDevice(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	known := n.enrol(n.user("ada"))
	forger := n.enrol(n.user("eve"))
	say := func(id string) []string {
		d := *forger
		d.id, d.nonce = id, ""
		var got []string
		for range 2 {
			h := protocol.Header{KeyID: d.id, URL: n.url + protocol.PathHistory, Nonce: d.nonce}
			if d.nonce == "" {
				h.Nonce = "AAAA"
			}
			a := d.post(protocol.PathHistory, d.sign(&protocol.History{V: 1}, h))
			d.nonce = a.header.Get(protocol.NonceHeader)
			got = append(got, fmt.Sprint(a.status, a.get("reason"), len(d.nonce), strip(a)))
		}
		return got
	}
	unknown, wrong := say("dev_"+strings.Repeat("a", 26)), say(known.id)
	if unknown[0] != wrong[0] || unknown[1] != wrong[1] {
		t.Errorf("unknown %q, wrong signature %q", unknown, wrong)
	}
}

// TestReportEndsEnrolment says "not me" to a sign-in with which somebody began to enrol a device:
// that device does not come in.
func TestReportEndsEnrolment(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	app := n.app("portal")
	who := n.user("ada")
	d := n.enrol(who)
	c := n.challenge(app, "ada")
	n.approve(app, d, c)
	asApp := *n
	asApp.admin = app
	newcomer, code := asApp.claim(who, obj{"challenge": c.get("id")})
	d.post(protocol.PathDecisions, d.decision(refuse(c.get("id"), protocol.VerdictReport))).want(t, 200)
	a := n.call(app, "POST", "/v1/enrolments/"+newcomer.enrol+"/confirm", obj{"code": code})
	if a.status != http.StatusConflict || a.get("reason") != "enrolment_closed" {
		t.Errorf("confirm after the report: %d %s", a.status, a.body)
	}
	if a := newcomer.poll(""); a.status != http.StatusForbidden {
		t.Errorf("the newcomer is told %d %s", a.status, a.body)
	}
	if got := n.events("user=" + who + "&kind=enrolment.cancelled"); len(got) != 1 {
		t.Errorf("recorded: %q", got)
	}

	// What an administrator began goes on.
	admins, code := n.claim(who)
	c = n.challenge(app, "ada")
	d.post(protocol.PathDecisions, d.decision(refuse(c.get("id"), protocol.VerdictReport))).want(t, 200)
	n.call(n.admin, "POST", "/v1/enrolments/"+admins.enrol+"/confirm", obj{"code": code}).want(t, 200)
}
