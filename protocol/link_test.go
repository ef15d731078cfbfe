package protocol

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
)

type textVectors struct {
	Comment      string            `json:"comment"`
	Links        []TicketLink      `json:"links"`
	LinksRefused []string          `json:"links_refused"`
	Scans        map[string]string `json:"scans"`
	ScansRefused []string          `json:"scans_refused"`
	UV           []uvVector        `json:"uv"`
	Thumbprints  map[string]string `json:"thumbprints"`
	PromptJWS    string            `json:"prompt_jws"`
	PromptSHA256 string            `json:"prompt_sha256"`
}

type uvVector struct {
	Challenge    string `json:"challenge"`
	PromptSHA256 string `json:"prompt_sha256"`
	Match        Match  `json:"match"`
	Answer       string `json:"answer"`
	Text         string `json:"text"`
	SHA256       string `json:"sha256"`
}

func texts(w *world) textVectors {
	digest := PromptSHA256(w.promptBytes)
	uv := func(m Match, answer string) uvVector {
		text := UVText(testChal, digest, m, answer)
		sum := sha256.Sum256([]byte(text))
		return uvVector{testChal, digest, m, answer, text, encode64(sum[:])}
	}
	v := textVectors{
		Comment: "Links, scanned texts and digests. Each link is Origin/enrol#Ticket.PIN.",
		Links: []TicketLink{
			{"https://login.example.com", testTicket, testSecret},
			{"https://login.example.com:8443", testTicket, testSecret},
			{"http://127.0.0.1:8080", testTicket, testSecret},
			{"http://[::1]:8080", testTicket, testSecret},
			{"http://localhost:8080", testTicket, testSecret},
		},
		Scans:        map[string]string{testChal: testSecret},
		UV:           []uvVector{uv(MatchDigits, "042137"), uv(MatchTap, ""), uv(MatchScan, testSecret)},
		Thumbprints:  map[string]string{},
		PromptJWS:    w.prompt,
		PromptSHA256: digest,
	}
	for name, k := range w.signers() {
		v.Thumbprints[name] = k.jwk().Thumbprint()
	}
	tail := "#" + testTicket + "." + testSecret
	v.LinksRefused = []string{
		"", "https://login.example.com/enrol", "https://login.example.com/enrol#", "https://login.example.com/enrol#" + testTicket,
		"https://login.example.com/enrol#" + testTicket + ".", "https://login.example.com/enrol#." + testSecret,
		"https://login.example.com/enrol#" + testTicket + "." + testSecret[:21], "https://login.example.com/enrol" + tail + "A",
		"https://login.example.com/enrol#" + testTicket + "." + testSecret[:21] + "B",
		"https://login.example.com/enrol" + tail + ".x", "https://login.example.com/enrol#x" + tail, "https://login.example.com/enrol?" + tail,
		"https://login.example.com/enrol?x=1" + tail, "https://login.example.com/enrol/" + tail, "https://login.example.com/ENROL" + tail,
		"https://login.example.com/%65nrol" + tail, "https://login.example.com" + tail, "https://user@login.example.com/enrol" + tail,
		"https:///enrol" + tail, "https:/enrol" + tail, "http://login.example.com/enrol" + tail, "http://127.0.0.1.example.com/enrol" + tail,
		"http://localhost.example.com/enrol" + tail, "ftp://login.example.com/enrol" + tail, "HTTPS://login.example.com/enrol" + tail,
		"login.example.com/enrol" + tail, " https://login.example.com/enrol" + tail, "https://login.example.com/enrol" + tail + "\n",
		"https://login.example.com\\@evil.example/enrol" + tail, "javascript:alert(1)//enrol" + tail,
	}
	code := testChal + "." + testSecret
	v.ScansRefused = []string{
		"", "NOD1:", "NOD1:.", "NOD1:" + testChal, "NOD1:" + testChal + ".", "NOD1:." + testSecret, "NOD1:" + code + "=", "NOD1:" + code + ".x",
		"NOD1:" + code[:len(code)-1], "NOD1:" + code + "\n", " NOD1:" + code, "nod1:" + code, "NOD2:" + code, code,
		"https://login.example.com/p#" + testChal, "https://login.example.com/p#" + code, "https://login.example.com/p#NOD1:" + code,
		"https://login.example.com/NOD1:" + code, "nod://NOD1:" + code, "NOD1://" + code, "NOD1:https://x/" + code,
		"https://login.example.com/enrol" + tail,
	}
	return v
}

func TestTexts(t *testing.T) {
	t.Parallel()
	v := texts(newWorld())
	golden(t, "texts.json", v)
	for _, want := range v.Links {
		if got, err := ParseTicketLink(want.String()); err != nil || got != want {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	for _, link := range v.LinksRefused {
		if got, err := ParseTicketLink(link); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %+v, %v", link, got, err)
		}
	}
	for challenge, secret := range v.Scans {
		want := Scan{challenge, secret}
		if got, err := ParseScan(want.String()); err != nil || got != want {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	for _, text := range v.ScansRefused {
		if got, err := ParseScan(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, u := range v.UV {
		if sum := UVChallenge(u.Challenge, u.PromptSHA256, u.Match, u.Answer); encode64(sum[:]) != u.SHA256 {
			t.Errorf("%s: another digest", u.Text)
		}
	}
}

// TestThumbprint checks against the example of RFC 7638 made for P-256 in RFC 7517 A.1.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	k := JWK{"EC", "P-256", "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
	if got, want := k.Thumbprint(), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	pub, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Thumbprint(pub); err != nil || got != k.Thumbprint() {
		t.Errorf("got %s, %v", got, err)
	}
}

func FuzzTicketLink(f *testing.F) {
	v := texts(newWorld())
	for _, l := range v.Links {
		f.Add(l.String())
	}
	for _, l := range v.LinksRefused {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, link string) {
		l, err := ParseTicketLink(link)
		if err == nil && (l.String() != link || strings.ContainsAny(l.Origin, "@\\#? \n")) {
			t.Fatalf("%q became %+v", link, l)
		}
	})
}

func FuzzScan(f *testing.F) {
	v := texts(newWorld())
	for challenge, secret := range v.Scans {
		f.Add(Scan{challenge, secret}.String())
	}
	for _, s := range v.ScansRefused {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScan(text)
		if err == nil && (s.String() != text || strings.Contains(text, "/")) {
			t.Fatalf("%q became %+v", text, s)
		}
	})
}
