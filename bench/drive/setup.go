package drive

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"

	"github.com/nodauth/nod/protocol"
)

// Target is a server to load.
type Target struct {
	URL   string `json:"url"`   // its first public URL
	Admin string `json:"admin"` // an administration key
}

// Address is the host and port.
func (t Target) Address() string {
	u, err := url.Parse(t.URL)
	if err != nil {
		return t.URL // which the dialer then complains about
	}
	return u.Host
}

type created struct {
	ID  string `json:"id"`
	URL string `json:"url"`
	Key struct {
		Secret string `json:"secret"`
	} `json:"key"`
}

// Application makes an application and gives its key.
func (t Target) Application(ctx context.Context, name string) (string, error) {
	c, err := Dial(ctx, t.Address(), "")
	if err != nil {
		return "", err
	}
	defer c.Close()
	a, err := c.Do("POST", "/v1/applications", bearer(t.Admin), fmt.Appendf(nil,
		`{"name":%q,"scopes":["authenticate","assert_first_factor"]}`, name))
	app, err := Want[created](a, err, 201)
	if err != nil {
		return "", fmt.Errorf("make application: %w", err)
	}
	return app.Key.Secret, nil
}

// Device is an authenticator that believes the server, which a real one does not: it checks no
// signature, so that it costs one of its own for each message and nothing more.
type Device struct {
	id     string
	url    string
	key    *ecdsa.PrivateKey
	serial int64
	nonce  string
}

// Enrol makes a user of that name with one active device, over c.
func (t Target) Enrol(c *Conn, name string) (*Device, error) {
	a, err := c.Do("POST", "/v1/users", bearer(t.Admin), fmt.Appendf(nil, `{"name":%q}`, name))
	user, err := Want[created](a, err, 201)
	if err != nil {
		return nil, fmt.Errorf("make user: %w", err)
	}
	a, err = c.Do("POST", "/v1/users/"+user.ID+"/enrolments", bearer(t.Admin), []byte(`{}`))
	ticket, err := Want[created](a, err, 201)
	if err != nil {
		return nil, fmt.Errorf("make ticket: %w", err)
	}
	d, code, err := t.claim(c, ticket.URL)
	if err != nil {
		return nil, fmt.Errorf("claim ticket: %w", err)
	}
	a, err = c.Do("POST", "/v1/enrolments/"+ticket.ID+"/confirm", bearer(t.Admin), fmt.Appendf(nil, `{"code":%q}`, code))
	if _, err := Want[struct{}](a, err, 200); err != nil {
		return nil, fmt.Errorf("confirm device: %w", err)
	}
	return d, nil
}

func (t Target) claim(c *Conn, link string) (*Device, string, error) {
	l, err := protocol.ParseTicketLink(link)
	if err != nil {
		return nil, "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	raw, err := protocol.Sign(key, protocol.Header{URL: t.URL + protocol.PathEnrol}, &protocol.Enrol{
		V: 1, Ticket: l.Ticket, Name: "load", Platform: protocol.PlatformOther, AppVersion: "1", Features: []string{},
	})
	if err != nil {
		return nil, "", err
	}
	a, err := c.Do("POST", protocol.PathEnrol, joseHeader, []byte(raw))
	answer, err := Want[protocol.EnrolAnswer](a, err, 201)
	if err != nil {
		return nil, "", err
	}
	enrolled, set, err := protocol.OpenEnrolled(answer.Enrolled, l.PIN)
	if err != nil {
		return nil, "", err
	}
	return &Device{id: enrolled.Device, url: t.URL, key: key, serial: set.Keys.Serial, nonce: a.Nonce}, enrolled.ConfirmCode, nil
}

// Moved is the device for a copy of its server at another address.
func (d *Device) Moved(t Target) *Device {
	return &Device{id: d.id, url: t.URL, key: d.key, serial: d.serial}
}

// Crowd enrols n users, named by prefix and number, with one device each, which has its first nonce.
func (t Target) Crowd(ctx context.Context, prefix string, n int) ([]*Device, error) {
	devices := make([]*Device, n)
	err := Each(32, n, func() (func(int) error, func(), error) {
		c, err := Dial(ctx, t.Address(), "")
		if err != nil {
			return nil, nil, err
		}
		return func(i int) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			d, err := t.Enrol(c, fmt.Sprintf("%s%d", prefix, i))
			if err != nil {
				return err
			}
			devices[i] = d
			return d.Ready(c)
		}, c.Close, nil
	})
	return devices, err
}

// Each calls a function for 0 to n-1 from some workers at once, each of which opens what it needs
// and closes it. It stops at the first error.
func Each(workers, n int, open func() (do func(int) error, done func(), err error)) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := 0
	take := func(err error) (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = err
		}
		next++
		return next - 1, first == nil && next <= n
	}
	for range min(workers, n) {
		wg.Go(func() {
			do, done, err := open()
			if err != nil {
				take(err)
				return
			}
			defer done()
			for i, ok := take(nil); ok; i, ok = take(err) {
				err = do(i)
			}
		})
	}
	wg.Wait()
	return first
}

const joseHeader = "Content-Type: " + protocol.ContentType + "\r\n"

// sign makes a message. header is its members after alg and kid.
func (d *Device) sign(typ protocol.Type, nonce string, payload []byte) ([]byte, error) {
	header := `{"alg":"ES256","kid":"` + d.id + `","url":"` + d.url + typ.Path() + `","typ":"` + string(typ) + `"`
	if nonce != "" {
		header += `,"nonce":"` + nonce + `"`
	}
	out := base64.RawURLEncoding.AppendEncode(nil, []byte(header+"}"))
	out = append(out, '.')
	out = base64.RawURLEncoding.AppendEncode(out, payload)
	sum := sha256.Sum256(out)
	r, s, err := ecdsa.Sign(rand.Reader, d.key, sum[:])
	if err != nil {
		return nil, err
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return base64.RawURLEncoding.AppendEncode(append(out, '.'), sig[:]), nil
}

// SendPoll asks for prompts and waits for up to so many seconds.
func (d *Device) SendPoll(c *Conn, wait int) error {
	if d.nonce == "" {
		d.nonce = "AAAA" // stale for sure: the answer brings a fresh one
	}
	payload := fmt.Appendf(nil, `{"v":1,"wait":%d,"keys_serial":%d,"have":[]}`, wait, d.serial)
	if wait == 0 {
		payload = fmt.Appendf(nil, `{"v":1,"keys_serial":%d,"have":[]}`, d.serial)
	}
	body, err := d.sign(protocol.TypePoll, d.nonce, payload)
	if err != nil {
		return err
	}
	return c.Send("POST", protocol.PathPrompts, joseHeader, body)
}

type polled struct {
	Prompts []struct {
		JWS string `json:"jws"`
	} `json:"prompts"`
}

// ReceivePoll reads the answer to a poll: the prompts, as they were signed. stale says that the
// nonce was too old and the poll has to be sent again.
func (d *Device) ReceivePoll(c *Conn) (prompts []string, stale bool, err error) {
	a, err := c.Receive()
	d.nonce = a.Nonce
	if err == nil && a.Status == 401 && a.Nonce != "" {
		return nil, true, nil
	}
	p, err := Want[polled](a, err, 200)
	if err != nil {
		return nil, false, fmt.Errorf("poll: %w", err)
	}
	for _, item := range p.Prompts {
		prompts = append(prompts, item.JWS)
	}
	return prompts, false, nil
}

// Ready brings the first nonce, so that a later poll is not answered at once for the lack of one.
func (d *Device) Ready(c *Conn) error {
	for range 2 {
		if err := d.SendPoll(c, 0); err != nil {
			return err
		}
		if _, stale, err := d.ReceivePoll(c); err != nil || !stale {
			return err
		}
	}
	return fmt.Errorf("the server refuses its own nonce")
}

// approve makes the decision that approves a prompt by digits.
func (d *Device) approve(prompt, challenge, digits string) ([]byte, error) {
	payload, err := promptPayload(prompt)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	text, err := json.Marshal(&protocol.Decision{
		V: 1, Challenge: challenge, Decision: protocol.VerdictApprove, Match: protocol.MatchDigits, Answer: digits,
		PromptSHA256: base64.RawURLEncoding.EncodeToString(sum[:]), ShownMS: 1200, Locale: "en",
	})
	if err != nil {
		return nil, err
	}
	return d.sign(protocol.TypeDecision, "", text)
}
