package login

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// passLife is how long a page can be answered. After it the link is opened again.
const passLife = 30 * time.Minute

// maxPass is the greatest length of a pass as text.
const maxPass = 2048

// pass is what a page of an invitation carries to its next step, in its form and in no cookie: it is
// sent by that form alone, so no other site can make a browser send it, and two invitations in one
// browser do not meet. It is bound to its invitation, and after the first factor to the enrolment
// that was begun.
type pass struct {
	Realm     mfa.RealmID      `json:"r"`
	ID        mfa.InvitationID `json:"i"`
	Enrolment mfa.EnrolmentID  `json:"e,omitempty"`
	Link      string           `json:"l,omitempty"` // of the ticket, to show it again
	Ends      int64            `json:"x"`           // Unix time, exclusive
}

// passes signs and reads them.
type passes struct{ key []byte }

func (p passes) sign(v pass) (string, error) {
	body, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(p.tag(text)), nil
}

func (p passes) tag(text string) []byte {
	h := hmac.New(sha256.New, p.key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// read gives a pass that this server signed and that is not over at now.
func (p passes) read(text string, now time.Time) (pass, bool) {
	body, sent, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxPass {
		return pass{}, false
	}
	tag, err := base64.RawURLEncoding.Strict().DecodeString(sent)
	if err != nil || !secret.Equal(tag, p.tag(body)) {
		return pass{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return pass{}, false
	}
	var v pass
	if err := json.Unmarshal(raw, &v); err != nil || now.Unix() >= v.Ends {
		return pass{}, false
	}
	return v, true
}
