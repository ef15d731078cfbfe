package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const issuer = "https://nod.test"

// signer signs grants as a realm does.
type signer struct {
	key *ecdsa.PrivateKey
	id  string
}

func newSigner(t testing.TB, id string) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, id}
}

func (s signer) sign(t testing.TB, typ string, claims map[string]any) string {
	opts := (&jose.SignerOptions{}).WithType(jose.ContentType(typ))
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.id}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := js.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func jwks(t testing.TB, signers ...signer) []byte {
	var set jose.JSONWebKeySet
	for _, s := range signers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.key.Public(), KeyID: s.id, Algorithm: "ES256", Use: "sig"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var granted = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": issuer, "aud": "app_a", "sub": "usr_a", "preferred_username": "jo", "jti": "ch_a", "nonce": "n-1",
		"iat": granted.Unix(), "exp": granted.Unix() + 120, "auth_time": granted.Unix() - 3, "amr": []string{"swk", "user", "mca"},
		"acr": "urn:nod:1", "nod_method": "push", "nod_match": "digits", "nod_match_bits": 20, "nod_policy": 1,
	}
	maps.Copy(c, changes)
	return c
}

func grants(t testing.TB, keys []byte, now time.Time) *Client {
	c, err := New(Config{URL: issuer, Application: "app_a", Keys: keys, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerifyGrant(t *testing.T) {
	t.Parallel()
	s, other := newSigner(t, "k1"), newSigner(t, "k1")
	keys := jwks(t, s)
	want := GrantWanted{Challenge: "ch_a", Nonce: "n-1"}
	type changed = map[string]any
	for _, tc := range []struct {
		name string
		raw  string
		want GrantWanted
		now  time.Duration
		ok   bool
	}{
		{"right", s.sign(t, grantType, claims(nil)), want, time.Second, true},
		{"for this user", s.sign(t, grantType, claims(nil)), GrantWanted{Challenge: "ch_a", Nonce: "n-1", User: "usr_a", MinBits: 20, ACR: []string{"urn:nod:1"}}, 0, true},
		{"a code, which has no bits", s.sign(t, grantType, claims(changed{"nod_method": "totp", "nod_match_bits": 0})), GrantWanted{Challenge: "ch_a", Nonce: "n-1", MinBits: 20}, 0, true},
		{"just expired", s.sign(t, grantType, claims(nil)), want, 120 * time.Second, false},
		{"a minute early", s.sign(t, grantType, claims(nil)), want, -time.Minute, false},
		{"forged", other.sign(t, grantType, claims(nil)), want, 0, false},
		{"another typ", s.sign(t, "JWT", claims(nil)), want, 0, false},
		{"another issuer", s.sign(t, grantType, claims(changed{"iss": issuer + "/r/eu"})), want, 0, false},
		{"another application", s.sign(t, grantType, claims(changed{"aud": "app_b"})), want, 0, false},
		{"two audiences", s.sign(t, grantType, claims(changed{"aud": []string{"app_a", "app_b"}})), want, 0, false},
		{"another challenge", s.sign(t, grantType, claims(changed{"jti": "ch_b"})), want, 0, false},
		{"another nonce", s.sign(t, grantType, claims(changed{"nonce": "n-2"})), want, 0, false},
		{"a nonce not asked for", s.sign(t, grantType, claims(nil)), GrantWanted{Challenge: "ch_a"}, 0, false},
		{"no user", s.sign(t, grantType, claims(changed{"sub": ""})), want, 0, false},
		{"another user", s.sign(t, grantType, claims(nil)), GrantWanted{Challenge: "ch_a", Nonce: "n-1", User: "usr_b"}, 0, false},
		{"too long a life", s.sign(t, grantType, claims(changed{"exp": granted.Unix() + 121})), want, 0, false},
		{"a weak match", s.sign(t, grantType, claims(changed{"nod_match_bits": 6})), GrantWanted{Challenge: "ch_a", Nonce: "n-1", MinBits: 20}, 0, false},
		{"a weak assurance", s.sign(t, grantType, claims(nil)), GrantWanted{Challenge: "ch_a", Nonce: "n-1", ACR: []string{"urn:nod:2"}}, 0, false},
		{"no grant", "", want, 0, false},
		{"unsigned", "eyJhbGciOiJub25lIiwidHlwIjoibm9kLWdyYW50K2p3dCJ9.e30.", want, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g, err := grants(t, keys, granted.Add(tc.now)).VerifyGrant(t.Context(), tc.raw, tc.want)
			if tc.ok && (err != nil || g.Subject != "usr_a") {
				t.Errorf("got %+v, %v", g, err)
			}
			if !tc.ok && (!errors.Is(err, ErrGrant) || g.Subject != "") {
				t.Errorf("got %+v, %v; want ErrGrant and no claims", g, err)
			}
		})
	}
}

func TestVerifyGrantWantsToKnow(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	raw := s.sign(t, grantType, claims(nil))
	if _, err := grants(t, jwks(t, s), granted).VerifyGrant(t.Context(), raw, GrantWanted{Nonce: "n-1"}); err == nil {
		t.Error("without a challenge: got no error")
	}
	c, err := New(Config{URL: issuer, Keys: jwks(t, s), Now: func() time.Time { return granted }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.VerifyGrant(t.Context(), raw, GrantWanted{Challenge: "ch_a", Nonce: "n-1"}); err == nil {
		t.Error("without an application: got no error")
	}
}

func TestGrantKeysAreFetched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one, two, forged := newSigner(t, "k1"), newSigner(t, "k2"), newSigner(t, "k3")
		published, times := jwks(t, one), 0
		var broken bool
		c, err := New(Config{
			URL: "https://inside.test", Issuer: issuer, APIKey: "nod_sk_x", Application: "app_a", Now: func() time.Time { return granted }, Attempts: 1,
			HTTP: &http.Client{Transport: network(func(r *http.Request) (*http.Response, error) {
				times++
				if r.URL.String() != issuer+"/.well-known/jwks.json" || r.Header.Get("Authorization") != "" {
					t.Errorf("got %s with credential %q", r.URL, r.Header.Get("Authorization"))
				}
				if broken {
					return nil, io.EOF
				}
				return reply(200, keysType, string(published)), nil
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		verify := func(s signer) error {
			_, err := c.VerifyGrant(t.Context(), s.sign(t, grantType, claims(nil)), GrantWanted{Challenge: "ch_a", Nonce: "n-1"})
			return err
		}
		check := func(what string, err error, good bool, fetched int) {
			t.Helper()
			if (err == nil) != good || times != fetched {
				t.Errorf("%s: got error %v and %d fetches, want good %v and %d", what, err, times, good, fetched)
			}
		}
		check("first", verify(one), true, 1)
		check("again", verify(one), true, 1)
		check("unknown key at once", verify(forged), false, 1)
		published = jwks(t, one, two)
		time.Sleep(keysRefuse)
		check("after a rotation", verify(two), true, 2)
		broken = true
		time.Sleep(keysFresh)
		check("when the keys cannot be had", verify(one), false, 3)
	})
}

func FuzzVerifyGrant(f *testing.F) {
	s := newSigner(f, "k1")
	good := s.sign(f, grantType, claims(nil))
	f.Add(good)
	f.Add(s.sign(f, "JWT", claims(nil)))
	f.Add("..")
	c := grants(f, jwks(f, s), granted)
	f.Fuzz(func(t *testing.T, raw string) {
		g, err := c.VerifyGrant(t.Context(), raw, GrantWanted{Challenge: "ch_a", Nonce: "n-1"})
		if err == nil && g.Subject != "usr_a" {
			t.Errorf("%q: got %+v", raw, g)
		}
		if err != nil && !errors.Is(err, ErrGrant) {
			t.Errorf("%q: got %v", raw, err)
		}
	})
}
