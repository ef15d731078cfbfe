package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/nodauth/nod/internal/keys"
)

func TestSign(t *testing.T) {
	t.Parallel()
	r := fresh(t)
	s, _, err := r.NewSigner("default", "prompt")
	if err != nil {
		t.Fatal(err)
	}
	payload := `{"v":1,"text":"<&> ü"}`
	compact, err := s.Sign("nod-prompt+jws", []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"alg":"ES256","kid":"` + s.KID() + `","typ":"nod-prompt+jws"}`; string(header) != want {
		t.Errorf("header is %s, want %s", header, want)
	}
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	got, err := jws.Verify(s.Public())
	if err != nil || string(got) != payload {
		t.Errorf("payload is %s, %v, want %s", got, err, payload)
	}
	other, _, err := r.NewSigner("default", "prompt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify(other.Public()); err == nil || other.KID() == s.KID() {
		t.Error("two keys are one")
	}
}

func TestSignerOpensInItsRowOnly(t *testing.T) {
	t.Parallel()
	r := vectors(t)
	s, sealed, err := r.NewSigner("default", "prompt")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Signer("default", "prompt", s.KID(), nil); err != nil || got != s {
		t.Errorf("a new signer is not kept: %v", err)
	}
	restarted := vectors(t)
	got, err := restarted.Signer("default", "prompt", s.KID(), sealed)
	if err != nil || !got.Public().Equal(s.Public()) || got.KID() != s.KID() {
		t.Fatalf("after a restart: %v", err)
	}
	if again, err := restarted.Signer("default", "prompt", s.KID(), nil); err != nil || again != got {
		t.Errorf("an opened signer is not kept: %v", err)
	}
	for name, tc := range map[string]struct{ realm, purpose, kid string }{
		"realm":   {"other", "prompt", s.KID()},
		"purpose": {"default", "grant", s.KID()},
		"kid":     {"default", "prompt", s.KID()[1:] + "A"},
	} {
		if _, err := restarted.Signer(tc.realm, tc.purpose, tc.kid, sealed); !errors.Is(err, keys.ErrSealed) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := fresh(t).Signer("default", "prompt", s.KID(), sealed); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("another root: %v", err)
	}
	if _, _, err := r.NewSigner("", "prompt"); err == nil {
		t.Error("a key without a realm")
	}
}

func TestSignerRefusesOtherKeys(t *testing.T) {
	t.Parallel()
	r := fresh(t)
	for name, plain := range map[string]string{
		"no key": "text",
		// PKCS 8 of an Ed25519 key (RFC 8410, section 10.3).
		"not P-256": "302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
	} {
		b, err := hex.DecodeString(plain)
		if err != nil {
			b = []byte(plain)
		}
		sealed, err := r.Seal(b, keys.AAD{Realm: "default", Table: "realm_keys", Row: "prompt:kid", Column: "private"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Signer("default", "prompt", "kid", sealed); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
	s, sealed, err := r.NewSigner("default", "prompt")
	if err != nil {
		t.Fatal(err)
	}
	der, err := r.Open(sealed, keys.AAD{Realm: "default", Table: "realm_keys", Row: "prompt:" + s.KID(), Column: "private"})
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err = r.Seal(der, keys.AAD{Realm: "default", Table: "realm_keys", Row: "prompt:kid", Column: "private"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Signer("default", "prompt", "kid", sealed); err == nil {
		t.Error("a key under another's thumbprint was opened")
	}
}

func TestSignersAreShared(t *testing.T) {
	t.Parallel()
	s, sealed, err := vectors(t).NewSigner("default", "grant")
	if err != nil {
		t.Fatal(err)
	}
	r := vectors(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			got, err := r.Signer("default", "grant", s.KID(), sealed)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := got.Sign("nod-grant+jwt", []byte("{}")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestJWK(t *testing.T) {
	t.Parallel()
	s, _, err := fresh(t).NewSigner("default", "grant")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s.JWK())
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]string
	if err := json.Unmarshal(b, &members); err != nil {
		t.Fatal(err)
	}
	if members["kid"] != s.KID() || members["alg"] != "ES256" || members["use"] != "sig" || members["crv"] != "P-256" || len(members) != 7 {
		t.Errorf("key set member is %s", b)
	}
	if _, private := members["d"]; private {
		t.Error("the private key is in the key set")
	}
}

// TestThumbprint uses the P-256 key of RFC 7517, appendix A.1, whose thumbprint is computed
// here as RFC 7638 says.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	const x, y = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
	point := []byte{4} // uncompressed
	for _, s := range []string{x, y} {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		point = append(point, b...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.Thumbprint(public)
	if want := "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Thumbprint(&large.PublicKey); err == nil {
		t.Error("a P-384 key has a thumbprint")
	}
}
