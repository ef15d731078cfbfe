package authn_test

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/protocol"
)

// claims opens a grant with the realm's published keys, as an application does.
func (w *world) claims(g authn.Grant) map[string]any {
	w.t.Helper()
	set, err := w.realms.JWKS(w.t.Context(), in)
	must(w.t, err)
	var keys jose.JSONWebKeySet
	text, err := json.Marshal(set)
	must(w.t, err)
	must(w.t, json.Unmarshal(text, &keys))
	token, err := jose.ParseSignedCompact(g.JWT, []jose.SignatureAlgorithm{jose.ES256})
	must(w.t, err)
	payload, err := token.Verify(keys)
	must(w.t, err)
	equal(w.t, "typ", token.Signatures[0].Protected.ExtraHeaders["typ"], any("nod-grant+jwt"))
	dec := json.NewDecoder(strings.NewReader(string(payload)))
	dec.UseNumber()
	got := map[string]any{}
	must(w.t, dec.Decode(&got))
	return got
}

// TestClaims: what a grant says for each first factor and each way to answer.
func TestClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("first_factor: none\n" + everyMatch)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	totp := w.totp(u)
	backup, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	issued, err := w.accounts.IssueBypass(w.ctx, in, u.ID, account.BypassOptions{Uses: 10, Life: day, Reason: "test"})
	must(t, err)
	firsts := []struct {
		name  string
		claim string
		make  func() authn.Request
	}{
		{"none", "none", func() authn.Request { r := login("alice"); r.Asserted = false; return r }},
		{"asserted", "application", func() authn.Request { return login("alice") }},
		{"password", "nod", func() authn.Request { return withPassword(login("alice"), rightPassword) }},
	}
	type want struct {
		method string
		match  mfa.Match
		acr    string // without a first factor
		two    string // with one
		amr    []any
	}
	wants := []want{
		{"push", mfa.Scan, mfa.ACROne, mfa.ACRTwo, []any{"swk", "user", "mca"}},
		{"push", mfa.Digits, mfa.ACROne, mfa.ACRTwo, []any{"swk", "user", "mca"}},
		{"push", mfa.DigitsBack, mfa.ACROne, mfa.ACRTwo, []any{"swk", "user", "mca"}},
		{"push", mfa.Number, mfa.ACRLow, mfa.ACRLow, []any{"swk", "user"}},
		{"push", mfa.Choice, mfa.ACRLow, mfa.ACRLow, []any{"swk", "user"}},
		{"push", mfa.Tap, mfa.ACRLow, mfa.ACRLow, []any{"swk", "user"}},
		{"totp", "", mfa.ACROne, mfa.ACRTwo, []any{"otp"}},
		{"backup_code", "", mfa.ACROne, mfa.ACROne, []any{"otp"}},
		{"bypass_code", "", mfa.ACRLow, mfa.ACRLow, nil},
	}
	used := 0
	for _, first := range firsts {
		if first.name == "password" {
			w.password(u)
		}
		for _, c := range wants {
			w.pass(30 * time.Minute)
			r := w.from(b, first.make())
			r.Nonce = "nonce-" + c.method
			v := w.create(r)
			w.pass(5 * time.Second)
			at := w.now()
			switch mfa.Method(c.method) {
			case mfa.Push:
				out, err := w.decide(p, w.answers(v.ID, c.match, right(v, c.match)))
				must(t, err)
				if c.match == mfa.DigitsBack {
					w.pass(time.Second)
					w.types(v.ID, authn.DigitsBackMethod, out.DigitsBack)
				}
			case mfa.TOTP:
				w.types(v.ID, mfa.TOTP, totp.code(w.now()))
			case mfa.BackupCode:
				w.types(v.ID, mfa.BackupCode, backup[used].Reveal())
				used++
			default:
				w.types(v.ID, mfa.BypassCode, issued.Code.Reveal())
			}
			w.pass(7 * time.Second)
			got := w.claims(w.redeemed(v.ID))
			amr, acr := append([]any{}, c.amr...), c.acr
			if first.name != "none" {
				acr = c.two
			}
			if first.name == "password" {
				amr = append([]any{"pwd"}, amr...)
				if c.acr != mfa.ACRLow {
					amr = append(amr, "mfa")
				}
			}
			say := map[string]any{
				"iss": host, "aud": string(w.app.Application.ID), "sub": string(u.ID), "preferred_username": "alice",
				"jti": string(v.ID), "iat": number(w.now().Seconds()), "exp": number(w.now().Seconds() + 120),
				"auth_time": number(at.Seconds()), "nonce": r.Nonce, "amr": amr, "acr": acr, "nod_method": c.method,
				"nod_first_factor": first.claim, "nod_known_browser": true, "nod_policy": number(1),
			}
			if c.method == "push" {
				say["nod_match"], say["nod_match_bits"] = string(c.match), number(int64(c.match.Bits()))
				say["nod_device"] = string(p.id)
			}
			if diff := cmp.Diff(say, got); diff != "" {
				t.Errorf("%s, %s %s: %s", first.name, c.method, c.match, diff)
			}
		}
	}
	r := login("alice")
	got := w.claims(w.signIn(p, r))
	if _, ok := got["nonce"]; ok || got["nod_known_browser"] != false {
		t.Errorf("a stranger without a nonce: %v", got)
	}
}

func number(n int64) json.Number { return json.Number(big.NewInt(n).String()) }

// TestSameGrant: the same key gives the same bytes until they expire, and another key nothing.
func TestSameGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	v := w.create(login("alice"))
	w.approve(p, v, mfa.Scan)
	_, err := w.s.Redeem(t.Context(), w.app, v.ID, "")
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	w.state(v.ID, mfa.Approved, "")
	g := w.redeemed(v.ID)
	equal(t, "whole seconds", g.ExpiresAt, mfa.Instant((w.now().Seconds()+120)*1_000_000))
	for range 3 {
		equal(t, "grant", w.redeemed(v.ID), g)
	}
	_, err = w.s.Redeem(t.Context(), w.app, v.ID, "key-2")
	wants(t, err, mfa.Conflict, mfa.ReasonAlreadyRedeemed)
	must(t, w.accounts.Lock(w.ctx, in, u.ID)) // it was given: what happens later is not its own
	must(t, w.accounts.Revoke(w.ctx, in, p.id, byAdmin))
	w.move(g.ExpiresAt - 1)
	equal(t, "grant at the last moment", w.redeemed(v.ID), g)
	w.move(g.ExpiresAt)
	_, err = w.redeem(v.ID)
	wants(t, err, mfa.Gone, mfa.ReasonGrantExpired)
	_, err = w.s.Redeem(t.Context(), w.app, v.ID, "key-2")
	wants(t, err, mfa.Conflict, mfa.ReasonAlreadyRedeemed)
	w.state(v.ID, mfa.Redeemed, "")
	if c := w.row(v.ID); strings.Contains(string(c.Grant), g.JWT[:20]) {
		t.Error("the grant is stored in the open")
	}
}

// TestReceipts verify with the keys that were taken at enrolment, and with no others.
func TestReceipts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	deviceKey, realmKey := &p.key.PublicKey, p.keys.PromptKey()
	v := w.create(login("alice"))
	_, err := w.s.Receipt(t.Context(), w.app, v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
	denied := w.create(login("alice"))
	w.deny(p, denied.ID)
	verify := func(id mfa.ChallengeID, key *ecdsa.PublicKey) (protocol.Proof, error) {
		t.Helper()
		r, err := w.s.Receipt(t.Context(), w.app, id)
		must(t, err)
		text, err := protocol.Encode(&r)
		must(t, err)
		r, err = protocol.ParseReceipt(text)
		must(t, err)
		return protocol.VerifyReceipt(r, key, realmKey)
	}
	check := func(id mfa.ChallengeID, key *ecdsa.PublicKey, want protocol.Verdict) {
		t.Helper()
		proof, err := verify(id, key)
		must(t, err)
		if proof.Decision.Decision != want || proof.Prompt.Challenge != string(id) || proof.Device != string(p.id) || !proof.Issued {
			t.Errorf("it proves %+v", proof)
		}
	}
	check(v.ID, deviceKey, protocol.VerdictApprove)
	check(denied.ID, deviceKey, protocol.VerdictDeny)

	w.pass(2 * time.Hour)
	w.rotate(p)
	check(v.ID, deviceKey, protocol.VerdictApprove) // by the key that signed it, not by the present one
	if _, err := verify(v.ID, &p.key.PublicKey); err == nil {
		t.Error("the new key proves what the old one signed")
	}
	later := w.create(login("alice"))
	w.approve(p, later, mfa.Digits)
	w.redeemed(later.ID)
	check(later.ID, &p.key.PublicKey, protocol.VerdictApprove)

	totp := w.totp(u)
	typed := w.create(login("alice"))
	w.types(typed.ID, mfa.TOTP, totp.code(w.now()))
	w.redeemed(typed.ID)
	r, err := w.s.Receipt(t.Context(), w.app, typed.ID)
	must(t, err)
	want := protocol.Receipt{V: 1, Method: "totp", Challenge: string(typed.ID), At: protocol.ReceiptTime(w.now().Time())}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("of a code: %s", diff)
	}
}

// rotate gives the phone another key.
func (w *world) rotate(p *phone) {
	w.t.Helper()
	p.seq++
	key, jwk := newKey(w.t)
	inner, err := protocol.Sign(key, protocol.Header{}, &protocol.NewKey{V: 1, Device: string(p.id), OldThumbprint: p.jwk.Thumbprint()})
	must(w.t, err)
	must(w.t, w.accounts.Rotate(w.t.Context(), w.says(p), protocol.Rotate{V: 1, Seq: p.seq, Inner: inner}))
	p.key, p.jwk = key, jwk
}

// TestKeyChangedMeanwhile: a decision whose signature was checked against a key that is not the
// device's any more counts for nothing.
func TestKeyChangedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	v := w.create(login("alice"))
	said := w.signed(p, w.answers(v.ID, mfa.Digits, right(v, mfa.Digits)))
	w.rotate(p)
	_, err := w.s.Decide(t.Context(), said)
	wants(t, err, mfa.Unauthenticated, mfa.ReasonSignature)
	w.state(v.ID, mfa.Pending, "")
	w.approve(p, v, mfa.Digits)
	w.redeemed(v.ID)
}

// TestTwoFormsOfASignature are one decision: the payload's bytes tell a repetition.
func TestTwoFormsOfASignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	v := w.create(login("alice"))
	d := w.answers(v.ID, mfa.Digits, other(right(v, mfa.Digits), 3))
	said := w.signed(p, d)
	first, err := w.s.Decide(t.Context(), said)
	must(t, err)
	parts := strings.Split(said.Raw, ".")
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	must(t, err)
	n := p.key.Curve.Params().N
	s := new(big.Int).Sub(n, new(big.Int).SetBytes(sig[32:]))
	s.FillBytes(sig[32:])
	m, err := protocol.Parse(protocol.TypeDecision, []byte(parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(sig)))
	must(t, err)
	must(t, m.Verify(&p.key.PublicKey))
	said.Raw, said.Sighted = m.Raw(), mfa.Sighted(m.RepetitionKey())
	again, err := w.s.Decide(t.Context(), said)
	must(t, err)
	equal(t, "tries left", again.TriesLeft, first.TriesLeft)
	equal(t, "wrong answers", w.row(v.ID).Wrong, 1)
	w.approve(p, v, mfa.Digits)
	w.redeemed(v.ID)
}
