// Package webhook sends messages as the Standard Webhooks specification has it: a POST with an id,
// a time, and an HMAC-SHA256 of both and the body for each key that the receiver may have.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nodauth/nod/internal/egress"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/secret"
)

const (
	// secretPrefix begins a secret, in base64 after it.
	secretPrefix = "whsec_"
	secretBytes  = 32

	gone = 410

	// shown is how much of an unwelcome reply is kept for people to read.
	shown = 200
	// longestWait is the longest wait that a receiver can ask for.
	longestWait = 24 * time.Hour
)

// NewSecret makes a secret of 256 bits, as receivers are given it.
func NewSecret() secret.Value {
	return secret.New(secretPrefix + base64.StdEncoding.EncodeToString(secret.Random(secretBytes)))
}

// Sender sends webhooks.
type Sender struct{ client *egress.Client }

var _ notice.Sender = (*Sender)(nil)

// New makes a Sender that calls through the client.
func New(client *egress.Client) *Sender { return &Sender{client: client} }

// Send implements notice.Sender. Everything but a 2xx is a failure, redirects too; a 410 says that
// the receiver wants nothing more.
func (s *Sender) Send(ctx context.Context, m notice.Message) notice.Outcome {
	signatures, err := Sign(m)
	if err != nil {
		return notice.Outcome{Class: notice.Permanent, Text: "The webhook's secret cannot be used."}
	}
	reply, err := s.client.Do(ctx, egress.Request{
		Method: "POST", URL: m.To, Body: m.Payload,
		Header: map[string]string{
			"Content-Type": "application/json", "Webhook-Id": m.ID, "Webhook-Timestamp": stamp(m.At), "Webhook-Signature": signatures,
		},
	})
	if err != nil {
		return failed(err)
	}
	return judge(reply)
}

func stamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Sign gives the value of the header webhook-signature: one signature for each key.
func Sign(m notice.Message) (string, error) {
	var all []string
	for _, k := range m.Keys {
		text, ok := strings.CutPrefix(k.Reveal(), secretPrefix)
		key, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(key) < 24 || len(key) > 64 {
			return "", errors.New("not a secret of a webhook")
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(m.ID + "." + stamp(m.At) + "."))
		mac.Write(m.Payload)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if len(all) == 0 {
		return "", errors.New("no key")
	}
	return strings.Join(all, " "), nil
}

// failed is the outcome of a call that got no reply. The words are ours: the errors of the network
// name addresses.
func failed(err error) notice.Outcome {
	o := notice.Outcome{Class: notice.Temporary, Text: "The receiver could not be called."}
	e, ok := errors.AsType[*egress.Error](err)
	if !ok {
		return o
	}
	switch e.Kind {
	case egress.Refused:
		o.Text = "The name leads to an address that this server does not call: it is not public and not in egress.allow."
	case egress.Unresolved:
		o.Text = "The name leads to no address."
	case egress.Unreached:
		o.Text = "No connection could be made."
	case egress.Untrusted:
		o.Text = "There is no TLS with a certificate that is trusted for this name."
	case egress.TimedOut:
		o.Text = "There was no whole reply in time."
	case egress.Broken:
		o.Text = "The connection broke, or the reply was not HTTP."
	}
	return o
}

func judge(r egress.Reply) notice.Outcome {
	o := notice.Outcome{Class: notice.Temporary, Status: r.Status}
	switch {
	case r.Status >= 200 && r.Status < 300:
		return notice.Outcome{Class: notice.Delivered, Status: r.Status}
	case r.Status == gone:
		o.Class, o.Text = notice.Gone, "The receiver says that it wants nothing more."
	case r.Status >= 300 && r.Status < 400:
		o.Text = "Redirects are not followed."
	default:
		o.Text = excerpt(r.Body)
		o.RetryAfter = retryAfter(r.RetryAfter)
	}
	return o
}

// excerpt is the beginning of a reply, without what could change how it is shown.
func excerpt(body []byte) string {
	var b strings.Builder
	n := 0
	for _, r := range string(body[:min(len(body), 4*shown)]) {
		if n == shown {
			break
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// retryAfter reads seconds; the other form, a date, is not worth its parser.
func retryAfter(text string) time.Duration {
	if text == "" || len(text) > 6 || strings.Trim(text, "0123456789") != "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, longestWait)
}
