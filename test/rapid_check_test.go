package test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/protocol"
)

// check compares what the API shows with the ghosts: all live challenges and those that an action
// touched, the devices, and by turns what the devices are shown.
func (m *machine) check() {
	for _, a := range m.asks {
		if a.live() || m.touched[a] {
			m.checkAsk(a)
		}
		if m.touched[a] {
			m.checkRecords(a)
		}
	}
	clear(m.touched)
	m.lap++
	m.checkOthers()
	for i, h := range m.people {
		if h.id != "" && (m.lap+i)%2 == 0 {
			m.checkDevices(h)
		}
	}
	for i, g := range m.gadgets {
		if (m.lap+i)%2 == 0 {
			m.checkPoll(g, nil)
		}
	}
}

// checkOthers makes sure that the last challenge is not there for another application.
func (m *machine) checkOthers() {
	m.t.Helper()
	if len(m.asks) == 0 {
		return
	}
	a := m.asks[len(m.asks)-1]
	by := m.clients[m.lap%len(m.clients)]
	if by == a.app || by.off {
		return
	}
	path := "/v1/challenges/" + []string{a.id, a.id + "/receipt"}[m.lap%2]
	if got := m.call(by.key, "GET", path, nil); got.status != 404 {
		m.t.Fatalf("I7: another application is shown %s: %d %s", path, got.status, got.body)
	}
}

// checkAll compares everything, once more at the end.
func (m *machine) checkAll() {
	for _, a := range m.asks {
		m.checkAsk(a)
		m.checkRecords(a)
		m.sum.states[a.state]++
	}
	for _, h := range m.people {
		if h.id != "" {
			m.checkDevices(h)
		}
	}
	for _, g := range m.gadgets {
		m.checkPoll(g, nil)
	}
}

// face is what an application is shown of a challenge.
type face struct {
	State, Reason     string
	Reported          bool
	Kinds, Now        []string
	Others            int
	Listed, Rung      bool
	Methods           []string
	Sent              bool
	UserID            string
	RedeemBy, Secrets bool
}

func readFace(body []byte) (face, error) {
	var raw struct {
		State    string `json:"state"`
		Reason   string `json:"reason"`
		Reported bool   `json:"reported"`
		UserID   string `json:"user_id"`
		Match    struct {
			Kinds              []string `json:"kinds"`
			Digits, Number, QR string
		} `json:"match"`
		Now    []string `json:"match_now"`
		Others int      `json:"others"`
		Push   struct {
			Listed bool `json:"listed"`
			Rung   bool `json:"rung"`
		} `json:"push"`
		Methods  []string `json:"methods"`
		Delivery struct {
			Sent bool `json:"sent"`
		} `json:"delivery"`
		RedeemBy string `json:"redeem_by"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return face{}, err
	}
	return face{
		State: raw.State, Reason: raw.Reason, Reported: raw.Reported, Kinds: sorted(raw.Match.Kinds), Now: sorted(raw.Now),
		Others: raw.Others, Listed: raw.Push.Listed, Rung: raw.Push.Rung, Methods: sorted(raw.Methods), Sent: raw.Delivery.Sent,
		UserID: raw.UserID, RedeemBy: raw.RedeemBy != "", Secrets: raw.Match.Digits+raw.Match.Number+raw.Match.QR != "",
	}, nil
}

func sorted(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// face is what it has to be.
func (m *machine) face(a *ask) face {
	f := face{
		State: a.state, Reason: a.reason, Reported: a.reported, Kinds: sorted(a.matches), Others: a.others(),
		Listed: a.rung, Rung: a.rung, Sent: a.rung,
	}
	if a.state == "approved" || a.state == "redeemed" {
		f.UserID, f.RedeemBy = a.who.id, true
	}
	if a.state == "pending" || a.state == "answered" {
		f.Now = sorted(m.matchNow(a, a.others() > 0))
		f.Methods = m.methodsNow(a)
		if a.first != "none" && a.answerable {
			f.Methods = both(f.Methods, m.own(a.who))
		}
		f.Methods = sorted(f.Methods)
	}
	return f
}

func (m *machine) checkAsk(a *ask) {
	m.t.Helper()
	got := m.call(a.app.key, "GET", "/v1/challenges/"+a.id, nil)
	if a.app.off {
		if got.status != 403 {
			m.t.Fatalf("I4: a disabled application is answered %d %s", got.status, got.body)
		}
		return
	}
	m.faced(a, got.want(m.t, 200), m.face(a))
}

func (m *machine) faced(a *ask, got answer, want face) {
	m.t.Helper()
	shown, err := readFace(got.body)
	if err != nil {
		m.t.Fatalf("read %s: %v", got.body, err)
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		m.t.Fatalf("I3: the challenge (%s of %s by %s, from %s, first factor %s) is shown otherwise than it has to be (-want +got):\n%s",
			a.kind, a.who.name, a.app.name, a.from, a.first, diff)
	}
}

// checkRecords compares the events of a challenge's transitions. What one transaction recorded is in
// no order.
func (m *machine) checkRecords(a *ask) {
	m.t.Helper()
	var got []string
	for _, kind := range m.events("challenge=" + a.id) {
		name, _ := strings.CutPrefix(kind, "challenge.")
		if slices.Contains([]string{
			"answered", "approved", "denied", "reported", "wrong_match", "wrong_code", "failed", "expired", "cancelled", "redeemed",
		}, name) {
			got = append(got, name)
		}
	}
	if diff := cmp.Diff(sorted(a.records), sorted(got)); diff != "" {
		m.t.Fatalf("I11: every transition has its record, once (-want +got):\n%s", diff)
	}
}

func (m *machine) checkDevices(h *human) {
	m.t.Helper()
	got := m.call(m.admin, "GET", "/v1/users/"+h.id+"/devices?all=yes", nil).want(m.t, 200)
	var list struct {
		Items []struct{ ID, State string }
	}
	if err := json.Unmarshal(got.body, &list); err != nil {
		m.t.Fatalf("read %s: %v", got.body, err)
	}
	want, is := make(map[string]string), make(map[string]string)
	for _, g := range h.gadgets {
		want[g.id] = g.state
		if g.quarantined(m.now()) {
			want[g.id] = "quarantined"
		}
	}
	for _, d := range list.Items {
		is[d.ID] = d.State
		if d.State == "claimed" && want[d.ID] == "refused" {
			is[d.ID] = "refused" // its time is over, and that is not recorded yet
		}
	}
	if diff := cmp.Diff(want, is); diff != "" {
		m.t.Fatalf("E2: the devices of %s (-want +got):\n%s", h.name, diff)
	}
}

// checkPoll compares what a device is shown. named is a challenge that it asks for.
func (m *machine) checkPoll(g *gadget, named *ask) {
	m.t.Helper()
	id := ""
	if named != nil {
		id = named.id
	}
	got := m.sound("poll", g.poll(id))
	if g.ended() {
		if got.status != 403 || got.get("reason") != "device_revoked" {
			m.t.Fatalf("I2: a device that is gone polls: %d %s", got.status, got.body)
		}
		return
	}
	body, err := protocol.ReadAnswer[protocol.PollAnswer](got.want(m.t, 200).body)
	if err != nil {
		m.t.Fatalf("read %s: %v", got.body, err)
	}
	state := g.state
	if g.quarantined(m.now()) {
		state = "quarantined"
	}
	if string(body.DeviceState) != state {
		m.t.Fatalf("E2: the device is %s, and is told %s", state, body.DeviceState)
	}
	want, is := make(map[string]string), make(map[string]string)
	rang := make(map[string]int)
	for _, a := range g.who.asks {
		listed := a.rung && (a.from != stranger || !a.who.lockdown)
		if g.state == "active" && a.state == "pending" && a.answerable && len(a.matches) > 0 && (listed || a == named) {
			want[a.id] = fmt.Sprint(a.others(), sorted(m.matchNow(a, a.others() > 0)), 3-a.wrong)
		}
	}
	for _, item := range body.Prompts {
		p, sum, err := g.keys.OpenPrompt(item.JWS)
		if err != nil {
			m.t.Fatalf("open prompt: %v", err)
		}
		m.checkPrompt(p, sum, item)
		if a := m.find(p.Challenge); a != nil && a.rung {
			rang[a.from]++
		}
		var now []string
		for _, k := range item.MatchNow {
			now = append(now, string(k))
		}
		is[p.Challenge] = fmt.Sprint(item.Others, sorted(now), item.TriesLeft)
	}
	if diff := cmp.Diff(want, is); diff != "" {
		m.t.Fatalf("I7: a device of %s is shown (-want +got):\n%s", g.who.name, diff)
	}
	for from, n := range rang {
		if n > 1 {
			m.t.Fatalf("I12: %d prompts from %s are listed at once", n, from)
		}
	}
}

// checkPrompt notes the prompt of a challenge, which is the same bytes to every device for ever.
func (m *machine) checkPrompt(p protocol.Prompt, sum string, item protocol.PromptItem) {
	m.t.Helper()
	a := m.find(p.Challenge)
	if a == nil {
		m.t.Fatalf("I7: a prompt of a challenge that nobody made: %s", p.Challenge)
	}
	if a.prompt.sum == "" {
		a.prompt = shown{p, sum, item}
	}
	known := class(a.from) == "known_browser"
	if a.prompt.sum != sum || p.User.ID != a.who.id || p.App.ID != a.app.id || string(p.Kind) != a.kind || p.Context.KnownBrowser != known {
		m.t.Fatalf("I2: the prompt of a %s of %s by %s: %+v", a.kind, a.who.name, a.app.name, p)
	}
}

// checkGrant looks at what a grant says.
func (m *machine) checkGrant(a *ask, jwt string) {
	m.t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		m.t.Fatalf("grant %q", jwt)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		m.t.Fatal(err)
	}
	var c struct {
		Aud, Sub, JTI, ACR string
		Exp                int64
		Method, Match, Dev string
		First              string
		Known              bool
		NodMethod          string   `json:"nod_method"`
		NodMatch           string   `json:"nod_match"`
		NodDevice          string   `json:"nod_device"`
		NodFirst           string   `json:"nod_first_factor"`
		NodKnown           bool     `json:"nod_known_browser"`
		NodPolicy          int      `json:"nod_policy"`
		AMR                []string `json:"amr"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		m.t.Fatal(err)
	}
	device := ""
	if a.by.gadget != nil {
		device = a.by.gadget.id
	}
	got := fmt.Sprint(c.Aud, c.Sub, c.JTI, c.NodMethod, c.NodMatch, c.NodDevice, c.NodFirst, c.NodKnown, c.ACR, c.NodPolicy, slices.Contains(c.AMR, "mfa"))
	want := fmt.Sprint(a.app.id, a.who.id, a.id, a.by.method, a.by.match, device,
		map[string]string{"none": "none", "asserted": "application", "password": "nod"}[a.first],
		class(a.from) == "known_browser", a.acr(), m.version, a.first == "password" && a.acr() != "urn:nod:low")
	if got != want {
		m.t.Fatalf("I2: the grant says %s, and its evidence is %s", got, want)
	}
	a.ends = time.Unix(c.Exp, 0)
}

// acr is what the documentation says a sign-in is worth.
func (a *ask) acr() string {
	switch {
	case a.by.method == "bypass_code" || (a.by.method == "push" && bitsOf[a.by.match] < 20):
		return "urn:nod:low"
	case a.by.method == "backup_code" || a.first == "none":
		return "urn:nod:1"
	}
	return "urn:nod:2"
}
