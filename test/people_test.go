package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/csv"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

// visitor is a person with a browser, without scripts but for what the page's own does.
type visitor struct {
	t    testing.TB
	http *http.Client
	base string
	page string
	last answer
}

func (n *node) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return &visitor{t: n.t, base: n.url, http: &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("a page of an invitation redirects")
	}}}
}

func (v *visitor) send(method, path string, form url.Values, head ...string) answer {
	v.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(context.Background(), method, v.base+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	res, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.last, v.page = answer{res.StatusCode, res.Header, text}, string(text)
	if len(res.Cookies()) > 0 {
		v.t.Errorf("%s sets a cookie", path)
	}
	if method != "HEAD" && strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		v.checkPage()
	}
	return v.last
}

// checkPage holds what keeps a page from telling, being framed and running what is not its own.
func (v *visitor) checkPage() {
	v.t.Helper()
	h := v.last.header
	for name, want := range map[string]string{
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
	} {
		if got := h.Get(name); got != want {
			v.t.Errorf("%s: %q", name, got)
		}
	}
	policy := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "form-action 'self'") {
		v.t.Errorf("policy %q", policy)
	}
	for _, part := range []string{`<html lang="en">`, `width=device-width`, "<main>", "<h1>"} {
		if !strings.Contains(v.page, part) {
			v.t.Errorf("the page has no %s:\n%s", part, v.page)
		}
	}
	for _, m := range inputs.FindAllString(v.page, -1) {
		if id := between(m, `id="`, `"`); !strings.Contains(m, `type="hidden"`) && !strings.Contains(v.page, `<label for="`+id+`"`) {
			v.t.Errorf("no label for %s", m)
		}
	}
}

var (
	forms  = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)"[^>]*>(.*?)</form>`)
	inputs = regexp.MustCompile(`<input[^>]*>`)
)

// submit fills the form of the page and sends it.
func (v *visitor) submit(fill ...string) answer {
	v.t.Helper()
	m := forms.FindStringSubmatch(v.page)
	if m == nil {
		v.t.Fatalf("no form on the page:\n%s", v.page)
	}
	form := url.Values{}
	for _, input := range inputs.FindAllString(m[2], -1) {
		form.Set(between(input, `name="`, `"`), html.UnescapeString(between(input, `value="`, `"`)))
	}
	for i := 0; i+1 < len(fill); i += 2 {
		if !form.Has(fill[i]) {
			v.t.Fatalf("the form has no %s:\n%s", fill[i], m[2])
		}
		form.Set(fill[i], fill[i+1])
	}
	return v.send("POST", m[1], form)
}

// open follows the link of an invitation and continues, as the page's script and a person do.
func (v *visitor) open(link string) answer {
	v.t.Helper()
	path, secret, ok := strings.Cut(strings.TrimPrefix(link, v.base), "#")
	if !ok {
		v.t.Fatalf("link %s", link)
	}
	v.send("GET", path, nil).want(v.t, 200)
	return v.submit("secret", secret)
}

// ticket is the enrolment link that the page shows.
func (v *visitor) ticket() string {
	v.t.Helper()
	link := html.UnescapeString(between(v.page, `<code id="link">`, `</code>`))
	if link == "" || !strings.Contains(v.page, "<svg") {
		v.t.Fatalf("no ticket on the page:\n%s", v.page)
	}
	return link
}

// take claims a ticket for a new device and gives the digits that it shows.
func (n *node) take(link string) (*device, string) {
	n.t.Helper()
	parsed, err := protocol.ParseTicketLink(link)
	if err != nil {
		n.t.Fatalf("ticket link: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	d := &device{n: n, key: key}
	a := d.post(protocol.PathEnrol, d.sign(&protocol.Enrol{
		V: 1, Ticket: parsed.Ticket, Name: "phone", Platform: protocol.PlatformCLI, AppVersion: "1", Features: []string{},
	}, protocol.Header{URL: n.url + protocol.PathEnrol})).want(n.t, 201)
	enrolled, set, err := protocol.OpenEnrolled(a.get("enrolled"), parsed.PIN)
	if err != nil {
		n.t.Fatalf("open enrolment: %v", err)
	}
	d.id, d.keys, d.serial = enrolled.Device, set, set.Keys.Serial
	return d, enrolled.ConfirmCode
}

// invite makes an invitation and gives its link and id.
func (n *node) invite(user string, more obj) (link, id string) {
	n.t.Helper()
	a := n.call(n.admin, "POST", "/v1/users/"+user+"/invitations", more).want(n.t, 201)
	return a.get("url"), a.get("id")
}

const phrase = "four boats under a slow moon"

// member makes a user with a password.
func (n *node) member(name string) string {
	n.t.Helper()
	return n.call(n.admin, "POST", "/v1/users", obj{"name": name, "password": phrase}).want(n.t, 201).get("id")
}

// nod runs the program as an administrator of the node.
func (n *node) nod(code int, args ...string) string {
	n.t.Helper()
	file, err := program()
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(file, args...)
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "NOD_URL="+n.url, "NOD_API_KEY="+n.admin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		n.t.Fatalf("nod %s ends with %d, want %d:\n%.2000s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// TestCompany brings 2 000 people in: imported with a dry run first, invited in bulk, 50 of them
// enrolled through their links, and imported again.
func TestCompany(t *testing.T) {
	t.Parallel()
	const people, follow = 2000, 50
	n := start(t, nodeOptions{})
	list := func(change func(i int, row []string)) {
		t.Helper()
		f, err := os.Create(filepath.Join(n.dir, "people.csv"))
		if err != nil {
			t.Fatal(err)
		}
		w := csv.NewWriter(f)
		_ = w.Write([]string{"name", "display", "aliases", "groups", "external_id"})
		for i := range people {
			row := []string{fmt.Sprintf("user%04d", i), fmt.Sprintf("Person, %d", i), fmt.Sprintf("u%d@example.org", i), "staff", fmt.Sprint(70_000 + i)}
			change(i, row)
			_ = w.Write(row)
		}
		w.Flush()
		if err := errors.Join(w.Error(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	last := func(out string) string {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return lines[len(lines)-1]
	}
	as := func(int, []string) {}
	list(as)
	plan := n.nod(0, "user", "import", "people.csv", "--dry-run")
	if got := last(plan); got != "Nothing was changed; it would be: created 2000, changed 0, unchanged 0, refused 0" {
		t.Fatalf("plan: %s", got)
	}
	if got := n.call(n.admin, "GET", "/v1/users", nil).want(t, 200); string(got.body) != `{"items":[]}` {
		t.Fatalf("a dry run makes people: %s", got.body)
	}
	done := n.nod(0, "user", "import", "people.csv")
	if last(done) != "created 2000, changed 0, unchanged 0, refused 0" || strings.Count(done, "\n+ ") != people-1 {
		t.Fatalf("import: %s", last(done))
	}
	if got := last(n.nod(0, "user", "import", "people.csv")); got != "created 0, changed 0, unchanged 2000, refused 0" {
		t.Errorf("again: %s", got)
	}

	n.nod(0, "user", "invite", "--all-without-device", "--set-password", "--out", "links.csv")
	f, err := os.Open(filepath.Join(n.dir, "links.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(f).ReadAll()
	if err = errors.Join(err, f.Close()); err != nil || len(rows) != people+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	devices := make([]*device, follow)
	var next atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < follow && !t.Failed(); i = int(next.Add(1)) - 1 {
				devices[i] = n.follow(rows[1+i*people/follow])
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	if got := strings.Count(n.nod(0, "user", "list", "--enrolled=yes", "--limit", "0"), "usr_"); got != follow {
		t.Errorf("%d are enrolled", got)
	}
	if got := strings.Count(n.nod(0, "invitation", "list", "--state", "used", "--limit", "0"), "inv_"); got != follow {
		t.Errorf("%d invitations are used", got)
	}
	if got := n.nod(0, "user", "invite", "--all-without-device"); !strings.Contains(got, "Invited 0.") || !strings.Contains(got, "Left out: 1950 with a live invitation") {
		t.Errorf("once more: %s", got)
	}

	list(func(i int, row []string) {
		switch i {
		case 3:
			row[3] = "staff|admins"
		case 5:
			row[0] = "married" // the same external id
		case 7:
			row[4] = "1" // somebody else's external id under a name that is taken
		}
	})
	refused := n.nod(1, "user", "import", "people.csv")
	if !strings.Contains(refused, "! line 9, user0007: ") || !strings.Contains(refused, "Nothing was done") {
		t.Errorf("a taken name: %.500s", refused)
	}
	list(func(i int, row []string) {
		switch i {
		case 3:
			row[3] = "staff|admins"
		case 5:
			row[0] = "married"
		}
	})
	want := "~ user0003: groups staff -> admins|staff\n~ user0005: aliases u5@example.org -> married|u5@example.org\ncreated 0, changed 2, unchanged 1998, refused 0"
	if got := strings.TrimSpace(n.nod(0, "user", "import", "people.csv")); got != want {
		t.Errorf("second import:\n%s", got)
	}
	key := n.app("wiki")
	c := n.challenge(key, rows[1][0])
	p := devices[0].prompt(c.get("id"))
	devices[0].decide(approval(p, protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
	n.redeem(key, c.get("id")).want(t, 200)
}

// follow takes one person from the link to a device.
func (n *node) follow(row []string) *device {
	v := n.visitor()
	v.open(row[1]).want(n.t, 200)
	if !strings.Contains(v.page, row[0]) {
		n.t.Errorf("the page does not say whose it is:\n%s", v.page)
	}
	v.submit("new_password", phrase, "again", phrase).want(n.t, 200)
	d, code := n.take(v.ticket())
	v.submit("code", code).want(n.t, 200)
	if !strings.Contains(v.page, "Your device is ready") {
		n.t.Errorf("the end is\n%s", v.page)
	}
	return d
}

// TestInvitationPages goes every way that a page can take.
func TestInvitationPages(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	link, _ := n.invite(n.member("ada"), obj{})
	path, secret, _ := strings.Cut(strings.TrimPrefix(link, n.url), "#")
	v := n.visitor()
	for _, method := range []string{"GET", "HEAD", "GET"} { // scanners of mail
		v.send(method, path, nil).want(t, 200)
	}
	v.send("GET", "/invitation/pass", nil).want(t, 405)
	v.send("GET", path, nil)
	v.submit("secret", link).want(t, 200) // pasted as a whole
	v.submit("password", "wrong").want(t, 403)
	if !strings.Contains(v.page, `role="alert"`) || strings.Contains(v.page, "wrong\"") {
		t.Errorf("after a wrong password:\n%s", v.page)
	}
	v.submit("password", phrase).want(t, 200)
	v.submit("code", "123456").want(t, 409)
	if !strings.Contains(v.page, "No device has taken the code yet") {
		t.Errorf("without a device:\n%s", v.page)
	}
	_, code := n.take(v.ticket())
	for _, status := range []int{403, 403, 409} { // the third wrong code refuses the device
		v.submit("code", not(code)).want(t, status)
	}
	v.submit("password", phrase).want(t, 200) // and the page begins again
	closed := *v
	v.open(link).want(t, 200) // a tab that was lost
	v.submit("password", phrase).want(t, 200)
	_, code = n.take(v.ticket())
	closed.submit("code", code).want(t, 404)
	v.submit("code", code).want(t, 200)
	v.open(link).want(t, 404)
	over := v.page
	v.send("GET", path, nil)
	v.submit("secret", "AAAAAAAAAAAAAAAAAAAAAA").want(t, 404)
	if v.page != over {
		t.Errorf("used:\n%s\nunknown:\n%s", over, v.page)
	}
	if strings.Contains(over, secret) {
		t.Error("the page repeats the secret")
	}
}

func not(code string) string {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

// TestInvitationAttacks tries to come through without what is asked for.
func TestInvitationAttacks(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	ada := n.member("ada")
	adas, _ := n.invite(ada, obj{})
	eves, _ := n.invite(n.member("eve"), obj{})
	v := n.visitor()
	v.open(adas).want(t, 200)
	opened := between(v.page, `name="pass" value="`, `"`)

	v.send("POST", "/invitation/confirm", url.Values{"pass": {opened}, "code": {"123456"}}).want(t, 410) // no first factor
	v.send("POST", "/invitation/pass", url.Values{"pass": {opened}}).want(t, 400)
	v.send("POST", "/invitation/pass", url.Values{"pass": {opened}, "password": {phrase, phrase}}).want(t, 400)
	v.send("POST", "/invitation/pass", url.Values{"pass": {opened}, "password": {phrase}}, "Sec-Fetch-Site", "cross-site").want(t, 403)
	v.send("POST", "/invitation", url.Values{"secret": {"x"}}, "Sec-Fetch-Site", "", "Origin", "https://evil.example").want(t, 403)
	for _, forged := range []string{"", "x", opened + "A", "A" + opened, strings.Replace(opened, ".", "", 1), strings.ToUpper(opened)} {
		if a := v.send("POST", "/invitation/pass", url.Values{"pass": {forged}, "password": {phrase}}); a.status != 410 {
			t.Errorf("pass %q: %d", forged, a.status)
		}
	}
	// Eve passes her own invitation and confirms what was begun through Ada's.
	v.open(eves).want(t, 200)
	v.submit("password", phrase).want(t, 200)
	evesPass := between(v.page, `name="pass" value="`, `"`)
	v.open(adas).want(t, 200)
	v.submit("password", phrase).want(t, 200)
	_, code := n.take(v.ticket())
	if a := v.send("POST", "/invitation/confirm", url.Values{"pass": {evesPass}, "code": {code}}); a.status == 200 {
		t.Errorf("eve confirms for ada:\n%s", v.page)
	}

	n.call(n.admin, "POST", "/v1/users/"+ada+"/lock", nil).want(t, 200) // in between
	v.open(adas).want(t, 404)
	v.send("POST", "/invitation/pass", url.Values{"pass": {opened}, "password": {phrase}}).want(t, 404)

	late := n.visitor()
	late.open(eves).want(t, 200)
	n.offset.Add(int64(31 * time.Minute))
	late.submit("password", phrase).want(t, 410) // a page that stood open
	late.open(eves).want(t, 200)
	n.offset.Add(int64(7 * 24 * time.Hour))
	late.open(eves).want(t, 404)
}

// TestInvitationByScript takes the same steps in JSON, on a process whose log is read: no secret is
// in it.
func TestInvitationByScript(t *testing.T) {
	t.Parallel()
	p := spawn(t, processOptions{dir: t.TempDir()})
	n := &p.node
	link, _ := n.invite(n.member("ada"), obj{})
	_, secret, _ := strings.Cut(link, "#")
	step := func(name string, body obj, status int) answer {
		t.Helper()
		return n.call("", "POST", "/invitation/v1/"+name, body).want(t, status)
	}
	step("open", obj{"secret": "AAAAAAAAAAAAAAAAAAAAAA"}, 404)
	step("open", obj{"secret": secret, "more": 1}, 400)
	opened := step("open", obj{"secret": secret}, 200)
	if opened.get("user") != "ada" || opened.get("needs.password") != "true" || opened.get("purpose") != "enrol" {
		t.Errorf("opened %s", opened.body)
	}
	step("confirm", obj{"pass": opened.get("pass"), "code": "123456"}, 410)
	step("pass", obj{"pass": opened.get("pass"), "password": "wrong"}, 403)
	begun := step("pass", obj{"pass": opened.get("pass"), "password": phrase}, 200)
	d, code := n.take(begun.get("url"))
	if got := step("confirm", obj{"pass": begun.get("pass"), "code": code}, 200).get("device_id"); got != d.id {
		t.Errorf("device %s, want %s", got, d.id)
	}
	step("open", obj{"secret": secret}, 404)
	for _, hidden := range []string{secret, opened.get("pass"), begun.get("pass"), phrase, between(begun.get("url"), "#", ".")} {
		if hidden == "" || strings.Contains(p.log.String(), hidden) {
			t.Errorf("the log has %q", hidden)
		}
	}

	reset, _ := n.invite(n.user("kim"), obj{"purpose": "reset"})
	_, secret, _ = strings.Cut(reset, "#")
	pass := step("open", obj{"secret": secret}, 200).get("pass")
	if got := step("pass", obj{"pass": pass, "new_password": phrase}, 200).get("done"); got != "true" {
		t.Errorf("done is %s", got)
	}
	step("pass", obj{"pass": pass, "new_password": phrase}, 404)
}
