package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	grantType  = "nod-grant+jwt"
	maxGrant   = 16 << 10 // bytes
	grantLife  = 120 * time.Second
	leeway     = 30 * time.Second // that two clocks may differ
	keysFresh  = time.Hour        // for which a fetched key set is used
	keysRefuse = 10 * time.Second // for which an unknown key does not fetch the set again
)

// GrantWanted is what a grant has to say. Challenge is required: a grant for another sign-in is
// none for this one.
type GrantWanted struct {
	// Challenge is the id that the application waited for.
	Challenge string
	// Nonce is the one given to Create, empty if there was none.
	Nonce string
	// User is the id that the grant must be for; empty for whoever it names.
	User string
	// MinBits is the least strength of a push's match; 0 for any.
	MinBits int
	// ACR are the assurances of which the grant must have one; none for any.
	ACR []string
}

// Grant is a verified grant.
type Grant struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"` // application
	Subject      string   `json:"sub"` // user
	Username     string   `json:"preferred_username"`
	Challenge    string   `json:"jti"`
	IssuedAt     int64    `json:"iat"`       // seconds since 1970 UTC
	ExpiresAt    int64    `json:"exp"`       // likewise
	AuthTime     int64    `json:"auth_time"` // likewise, of the decision
	Nonce        string   `json:"nonce"`
	AMR          []string `json:"amr"` // what nod itself checked (RFC 8176)
	ACR          string   `json:"acr"`
	Method       Method   `json:"nod_method"`
	Match        string   `json:"nod_match"`
	MatchBits    int      `json:"nod_match_bits"`
	FirstFactor  string   `json:"nod_first_factor"` // nod, application or none
	KnownBrowser bool     `json:"nod_known_browser"`
	Device       string   `json:"nod_device"`
	Policy       int64    `json:"nod_policy"` // version
}

// verifier checks grants against the issuer's keys.
type verifier struct {
	c      *Client
	issuer string
	app    string
	now    func() time.Time
	pinned *jose.JSONWebKeySet

	mu      sync.Mutex
	keys    *jose.JSONWebKeySet
	fetched time.Time
}

func newVerifier(cl *Client, issuer string, c Config) (*verifier, error) {
	v := &verifier{c: cl, issuer: issuer, app: c.Application, now: c.Now}
	if v.now == nil {
		v.now = time.Now
	}
	if c.Keys != nil {
		v.pinned = new(jose.JSONWebKeySet)
		if err := json.Unmarshal(c.Keys, v.pinned); err != nil {
			return nil, fmt.Errorf("read the keys that may sign grants: %w", err)
		}
		if len(v.pinned.Keys) == 0 {
			return nil, errors.New("read the keys that may sign grants: there is none in the set")
		}
	}
	return v, nil
}

// VerifyGrant checks that the grant was signed by the issuer for this application and says what is
// wanted. It returns ErrGrant if not, which may mean that something between here and the server
// tells lies; and the error of the request if the issuer's keys cannot be fetched. Each is a
// denial.
func (c *Client) VerifyGrant(ctx context.Context, grant string, want GrantWanted) (Grant, error) {
	g, err := c.grants.verify(ctx, grant, want)
	if err != nil {
		return Grant{}, fmt.Errorf("verify the grant: %w", err)
	}
	return g, nil
}

func (v *verifier) verify(ctx context.Context, raw string, want GrantWanted) (Grant, error) {
	if v.app == "" {
		return Grant{}, errors.New("the client does not know which application it is: set Config.Application")
	}
	if want.Challenge == "" {
		return Grant{}, errors.New("which challenge the grant must be for is not said: set GrantWanted.Challenge")
	}
	if len(raw) > maxGrant {
		return Grant{}, badGrant("it is longer than 16 KiB")
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return Grant{}, badGrant("it is not a JWT signed with ES256")
	}
	h := jws.Signatures[0].Protected
	if typ, _ := h.ExtraHeaders[jose.HeaderType].(string); typ != grantType {
		return Grant{}, badGrant("its type is not %s", grantType)
	}
	key, err := v.key(ctx, h.KeyID)
	if err != nil {
		return Grant{}, err
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return Grant{}, badGrant("its signature is not by the issuer's key %q", printable(h.KeyID))
	}
	var g Grant
	if err := json.Unmarshal(payload, &g); err != nil {
		return Grant{}, badGrant("its claims cannot be read")
	}
	return g, v.check(g, want)
}

func (v *verifier) check(g Grant, want GrantWanted) error {
	now := v.now()
	issued, expires := time.Unix(g.IssuedAt, 0), time.Unix(g.ExpiresAt, 0)
	for _, rule := range []struct {
		ok  bool
		why string
	}{
		{g.Issuer == v.issuer, "it is by the issuer " + printable(g.Issuer) + ", not " + v.issuer},
		{g.Audience == v.app, "it is for the application " + printable(g.Audience) + ", not " + v.app},
		{g.Challenge == want.Challenge, "it is for the challenge " + printable(g.Challenge) + ", not " + want.Challenge},
		{g.Nonce == want.Nonce, "its nonce is another"},
		{g.Subject != "", "it names no user"},
		{want.User == "" || g.Subject == want.User, "it is for the user " + printable(g.Subject) + ", not " + want.User},
		{now.Before(expires), "it has expired; is the clock right?"},
		{!issued.After(now.Add(leeway)), "it is from the future; is the clock right?"},
		{expires.After(issued) && expires.Sub(issued) <= grantLife, "it claims another life than grants have"},
		{g.Method != Push || g.MatchBits >= want.MinBits, "its match is weaker than wanted"},
		{len(want.ACR) == 0 || slices.Contains(want.ACR, g.ACR), "its assurance is " + printable(g.ACR)},
	} {
		if !rule.ok {
			return badGrant("%s", rule.why)
		}
	}
	return nil
}

// key finds the issuer's key of that id. A set that does not have it may be older than the key,
// and is fetched again, not more often than a forger would like.
func (v *verifier) key(ctx context.Context, kid string) (*ecdsa.PublicKey, error) {
	if v.pinned != nil {
		if k := pick(v.pinned, kid); k != nil {
			return k, nil
		}
		return nil, badGrant("its key %q is not one of those configured", printable(kid))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	age := time.Since(v.fetched)
	if v.keys != nil && age < keysFresh {
		if k := pick(v.keys, kid); k != nil {
			return k, nil
		}
		if age < keysRefuse {
			return nil, badGrant("its key %q is not the issuer's", printable(kid))
		}
	}
	set := new(jose.JSONWebKeySet)
	if err := v.fetch(ctx, set); err != nil {
		return nil, err
	}
	v.keys, v.fetched = set, time.Now()
	if k := pick(set, kid); k != nil {
		return k, nil
	}
	return nil, badGrant("its key %q is not the issuer's", printable(kid))
}

func (v *verifier) fetch(ctx context.Context, set *jose.JSONWebKeySet) error {
	// The issuer may be another host than the API's, which has no business with the API key.
	public := *v.c
	public.base, public.apiKey = v.issuer, ""
	return public.do(ctx, call{what: "fetch the keys of " + v.issuer, method: http.MethodGet, path: "/.well-known/jwks.json", out: set})
}

// pick gives the key of that id, if it is one that signs with ES256.
func pick(set *jose.JSONWebKeySet, kid string) *ecdsa.PublicKey {
	if kid == "" {
		return nil
	}
	for _, k := range set.Key(kid) {
		pub, ok := k.Key.(*ecdsa.PublicKey)
		if ok && pub.Curve == elliptic.P256() && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || k.Algorithm == string(jose.ES256)) {
			return pub
		}
	}
	return nil
}

func badGrant(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrGrant, fmt.Sprintf(format, args...))
}
