package challenge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

func TestNewNeedsARing(t *testing.T) {
	t.Parallel()
	if _, err := challenge.New(challenge.Config{}); err == nil {
		t.Error("a service without a keyring")
	}
}

func weakestFirst() []mfa.Match {
	all := mfa.AllMatches()
	slices.Reverse(all)
	return all
}

// offers gives every set of match kinds that policy offers: a weak kind has scan and digits beside
// it. None is among them.
func offers() [][]mfa.Match {
	var out [][]mfa.Match
	all := weakestFirst()
	for set := range 1 << len(all) {
		var list []mfa.Match
		for i, m := range all {
			if set&(1<<i) != 0 {
				list = append(list, m)
			}
		}
		weak := slices.ContainsFunc(list, func(m mfa.Match) bool { return m.Bits() < mfa.StrongBits })
		if !weak || slices.Contains(list, mfa.Scan) && slices.Contains(list, mfa.Digits) {
			out = append(out, list)
		}
	}
	return out
}

// TestMakeEveryOffer makes a challenge of every offer and opens its prompt as a device does, which
// checks signature, form and rules.
func TestMakeEveryOffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, matches := range offers() {
		s := spec(matches...)
		h := w.make(s)
		if diff := cmp.Diff(h.Challenge, w.load(h.ID).Challenge, cmpopts.IgnoreFields(store.Challenge{}, "ChangedAt", "Version"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%v: what is stored is not what was made (-made +stored):\n%s", matches, diff)
		}
		e := h.Expect
		for _, secret := range []struct {
			of   bool
			got  string
			form string
		}{
			{slices.Contains(matches, mfa.Scan), e.Scan, `^[A-Za-z0-9_-]{22}$`},
			{slices.Contains(matches, mfa.Digits), e.Digits, `^[0-9]{6}$`},
			{slices.Contains(matches, mfa.Number) || slices.Contains(matches, mfa.Choice), e.Number, `^[0-9]{2}$`},
			{false, e.Back, ""},
		} {
			if secret.of != (secret.got != "") || secret.of && !regexp.MustCompile(secret.form).MatchString(secret.got) {
				t.Errorf("%v: secret %q, want one: %t", matches, secret.got, secret.of)
			}
		}
		if len(matches) == 0 {
			if h.PromptJWS != "" || h.Prompt != "" {
				t.Errorf("a prompt that nobody can approve: %q", h.PromptJWS)
			}
			continue
		}
		p, digest, err := w.pinned.OpenPrompt(h.PromptJWS)
		if err != nil {
			t.Errorf("%v: %v", matches, err)
			continue
		}
		if digest != h.Prompt {
			t.Errorf("%v: digest %q, stored %q", matches, digest, h.Prompt)
		}
		checkChoices(t, p, e)
		if diff := cmp.Diff(prompted(s, h), p, cmpopts.IgnoreFields(protocol.Prompt{}, "Choices")); diff != "" {
			t.Errorf("%v (-want +got):\n%s", matches, diff)
		}
	}
}

func prompted(s challenge.Spec, h challenge.Held) protocol.Prompt {
	p := protocol.Prompt{
		V: 1, Issuer: issuer, Realm: string(realm), Challenge: string(h.ID),
		User: protocol.User{ID: string(s.User), Name: s.UserName},
		App:  protocol.App{ID: string(s.Application.ID), Name: s.Application.Name, IconSHA256: s.Application.IconSHA256},
		Kind: protocol.Kind(s.Kind), Reason: s.Reason, Details: []protocol.Detail{},
		Context: protocol.Context{
			IP: s.Context.IP, Browser: s.Context.Browser, PlaceConfidence: protocol.ConfidenceNone,
			ReportedBy: protocol.ReportedByApp, KnownBrowser: s.From.Class == mfa.KnownBrowser,
		},
		At: h.CreatedAt.Millis(), DecideBy: h.CreatedAt.Add(s.DecideIn).Millis(),
	}
	for _, m := range s.Matches {
		p.Match = append(p.Match, protocol.Match(m))
	}
	for _, d := range s.Details {
		p.Details = append(p.Details, protocol.Detail(d))
	}
	return p
}

func checkChoices(t *testing.T, p protocol.Prompt, e mfa.Expect) {
	t.Helper()
	if !slices.Contains(p.Match, protocol.MatchChoice) {
		if p.Choices != nil {
			t.Errorf("%v: choices %v", p.Match, p.Choices)
		}
		return
	}
	if len(p.Choices) != 3 || !slices.Contains(p.Choices, e.Number) || !slices.IsSorted(p.Choices) {
		t.Errorf("choices %v of %q: want three in order, the right one among them", p.Choices, e.Number)
	}
}

func TestMakeKeepsWhatWasSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := spec(mfa.Scan, mfa.Digits)
	s.ID, s.Kind, s.MinBits, s.Policy, s.Others = "ch_chosen", mfa.Transaction, 20, 7, 2
	s.From = mfa.Provenance{Class: mfa.KnownBrowser, Key: "thumb"}
	s.Browser, s.BrowserJWK, s.Source = "thumb", []byte(`{"kty":"EC"}`), "source"
	s.Reason, s.Nonce = "payroll", "n-1"
	s.Details = []challenge.Detail{{Label: "Amount", Value: "100 €"}, {Label: "To", Value: ""}}
	s.Context = challenge.Context{IP: "192.0.2.1", UserAgent: "Mozilla/5.0", Browser: "Firefox on Linux", Source: "host"}
	s.Ringing = mfa.Ringing{Reason: mfa.RingBudgetSpent, RetryAt: 99}
	s.Application.IconSHA256 = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	h := w.make(s)
	if h.ID != s.ID {
		t.Errorf("id %q, want the one chosen", h.ID)
	}
	p, _, err := w.pinned.OpenPrompt(h.PromptJWS)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(prompted(s, h), p); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
	details, err := json.Marshal(s.Details)
	if err != nil {
		t.Fatal(err)
	}
	got := w.load(h.ID)
	if diff := cmp.Diff(s.Context, got.Where()); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
	want := store.Challenge{
		Challenge: mfa.Challenge{
			ID: s.ID, User: s.User, Application: s.Application.ID, Kind: s.Kind, Provenance: s.From, FirstFactor: s.FirstFactor,
			Matches: mfa.MatchesOf(s.Matches...), Methods: s.Methods, MinBits: 20, Answerable: true, State: mfa.Pending,
			CreatedAt: h.CreatedAt, DecideBy: h.CreatedAt.Add(s.DecideIn), Prompt: h.Prompt, Expect: h.Expect,
		},
		Realm: realm, Name: s.Name, MatchOrder: s.Matches, Reason: s.Reason, Details: details, Context: got.Context,
		Nonce: s.Nonce, Browser: s.Browser, BrowserJWK: s.BrowserJWK, Source: s.Source, PolicyVersion: 7, Others: 2,
		RingReason: mfa.RingBudgetSpent, RetryAt: 99, PromptJWS: h.PromptJWS, Sealed: h.Sealed,
		ChangedAt: h.CreatedAt, Version: 1,
	}
	if diff := cmp.Diff(want, got.Challenge); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	scan, err := protocol.ParseScan(got.Scanned())
	if err != nil || scan.Challenge != string(h.ID) || scan.Secret != h.Expect.Scan {
		t.Errorf("the page's code says %+v, %v", scan, err)
	}
}

func TestMakeTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := spec(mfa.Scan)
	s.ID = "ch_chosen"
	first := w.make(s)
	err := w.store.Update(t.Context(), func(tx store.Tx) error {
		_, err := w.Make(tx, w.signer, s)
		return err
	})
	if !errors.Is(err, store.ErrExists) {
		t.Errorf("the same id again: %v", err)
	}
	if diff := cmp.Diff(first.Expect, w.load(s.ID).Expect); diff != "" {
		t.Errorf("the first one's secrets changed:\n%s", diff)
	}
	a, b := w.make(spec(mfa.Scan)), w.make(spec(mfa.Scan))
	if a.ID == b.ID || a.Expect.Scan == b.Expect.Scan || !regexp.MustCompile(`^ch_[a-z2-7]{26}$`).MatchString(string(a.ID)) {
		t.Errorf("two fresh ones: %q and %q", a.ID, b.ID)
	}
}

// TestMakeForNobody wants the same row for a user who does not exist, but for who may answer it.
func TestMakeForNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	somebody, nobody := spec(mfa.Scan, mfa.Digits), spec(mfa.Scan, mfa.Digits)
	nobody.Known = false
	a, b := w.make(somebody), w.make(nobody)
	if !a.Answerable || b.Answerable {
		t.Errorf("answerable: %t and %t", a.Answerable, b.Answerable)
	}
	random := cmpopts.IgnoreFields(store.Challenge{}, "Sealed", "PromptJWS", "ChangedAt")
	if diff := cmp.Diff(a.Challenge, b.Challenge, random, cmpopts.IgnoreFields(mfa.Challenge{}, "ID", "Prompt", "Expect", "CreatedAt", "DecideBy", "Answerable")); diff != "" {
		t.Errorf("(-somebody +nobody):\n%s", diff)
	}
	if len(a.Sealed) != len(b.Sealed) || len(a.PromptJWS) != len(b.PromptJWS) {
		t.Errorf("%d and %d bytes of secrets, %d and %d of prompt", len(a.Sealed), len(b.Sealed), len(a.PromptJWS), len(b.PromptJWS))
	}
	if _, _, err := w.pinned.OpenPrompt(b.PromptJWS); err != nil {
		t.Errorf("nobody's prompt: %v", err)
	}
}

func TestMakeWakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.woken()
	h := w.make(spec(mfa.Scan))
	if diff := cmp.Diff(wakes(h), w.woken()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func wakes(h challenge.Held) []string {
	keys := []string{
		store.WakeChallenge(h.Realm, h.ID), store.WakeUser(h.Realm, h.User), store.WakeApplication(h.Realm, h.Application),
	}
	slices.Sort(keys)
	return keys
}

// longest is a specification that takes every text to its limit, in characters of four bytes.
func longest() challenge.Spec {
	wide := func(n int) string { return strings.Repeat("𝔄", n) }
	s := spec(weakestFirst()...)
	s.UserName, s.Application.Name, s.Reason = strings.Repeat("n", 255), wide(64), wide(200)
	s.Application.IconSHA256 = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	s.Context.IP, s.Context.Browser = "2001:db8:1111:2222:3333:4444:5555:6666", strings.Repeat("b", 60)
	for i := range 10 {
		s.Details = append(s.Details, challenge.Detail{Label: fmt.Sprint(i) + wide(39), Value: wide(200)})
	}
	return s
}

func TestMakeTheLongestPrompt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := longest()
	h := w.make(s)
	p, _, err := w.pinned.OpenPrompt(h.PromptJWS)
	if err != nil {
		t.Fatalf("%d bytes: %v", len(h.PromptJWS), err)
	}
	if diff := cmp.Diff(prompted(s, h), p, cmpopts.IgnoreFields(protocol.Prompt{}, "Choices")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMakeRefusesWhatDoesNotFit wants no challenge whose prompt every device would refuse, and
// takes each length up to there.
func TestMakeRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	try := func(reason int) (h challenge.Held, err error) {
		s := spec(mfa.Scan)
		s.ID, s.Reason = "ch_long", strings.Repeat("r", reason)
		err = w.store.Update(t.Context(), func(tx store.Tx) error {
			if h, err = w.Make(tx, w.signer, s); err != nil {
				return err
			}
			return errUndone
		})
		return h, err
	}
	low, high := 1000, 20_000 // fits, does not
	for low+1 < high {
		mid := (low + high) / 2
		h, err := try(mid)
		switch {
		case errors.Is(err, errUndone):
			if low = mid; len(h.PromptJWS) > protocol.MaxMessage {
				t.Fatalf("a prompt of %d bytes was made", len(h.PromptJWS))
			}
		case mfa.CodeOf(err) == mfa.Invalid:
			high = mid
		default:
			t.Fatalf("a reason of %d characters: %v", mid, err)
		}
	}
	h, err := try(low)
	if !errors.Is(err, errUndone) || len(h.PromptJWS) < protocol.MaxMessage-2 {
		t.Errorf("the longest that is taken has %d bytes: %v", len(h.PromptJWS), err)
	}
	_, err = try(high)
	if e, ok := errors.AsType[*mfa.Error](err); !ok || e.Code != mfa.Invalid || e.Field != "details" {
		t.Errorf("one character more: %+v", err)
	}
}

var errUndone = errors.New("undone")

// TestSecretsAreSealed looks for the secrets of many challenges in all that is stored of them.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var scans []string
	for range 32 {
		h := w.make(spec(weakestFirst()...))
		scans = append(scans, h.Expect.Scan, h.Expect.Digits)
		h, _, refused := w.apply(h.ID, approval(h, mfa.DigitsBack, ""))
		if refused != nil || h.Expect.Back == "" {
			t.Fatalf("%v, %q", refused, h.Expect.Back)
		}
		row := stored(t, w, h.ID)
		if row.Expect != (mfa.Expect{}) {
			t.Errorf("the row has %#v", row.Expect)
		}
		payload, err := protocol.Parse(protocol.TypePrompt, []byte(row.PromptJWS))
		if err != nil {
			t.Fatal(err)
		}
		texts := append(words(reflect.ValueOf(row)), string(payload.Payload))
		for _, secret := range []string{h.Expect.Scan, h.Expect.Digits, h.Expect.Back} {
			if found := slices.IndexFunc(texts, func(s string) bool { return strings.Contains(masked(s), secret) }); found >= 0 {
				t.Errorf("%q stands in %q", secret, texts[found])
			}
		}
		if printed := fmt.Sprintf("%v %+v %#v", h, h, h); strings.Contains(printed, h.Expect.Scan) {
			t.Errorf("a held challenge prints its secret: %s", printed)
		}
	}
	for _, file := range []string{w.path, w.path + "-wal"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, secret := range scans {
			if i%2 == 0 && bytes.Contains(content, []byte(secret)) { // six digits can be there by chance
				t.Errorf("%s holds the secret %q", filepath.Base(file), secret)
			}
		}
	}
}

// masked takes out the moments, in whose digits any six can stand by chance.
func masked(s string) string {
	return regexp.MustCompile(`[0-9]{13,}`).ReplaceAllString(s, "")
}

func stored(t *testing.T, w *world, id mfa.ChallengeID) store.Challenge {
	t.Helper()
	var row store.Challenge
	w.update(func(tx store.Tx) (err error) {
		row, err = tx.Challenge(realm, id)
		return err
	})
	return row
}

// words collects every text and byte string of a value.
func words(v reflect.Value) []string {
	switch v.Kind() {
	case reflect.String:
		return []string{v.String()}
	case reflect.Struct:
		var out []string
		for i := range v.NumField() {
			out = append(out, words(v.Field(i))...)
		}
		return out
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return []string{string(v.Bytes())}
		}
		var out []string
		for i := range v.Len() {
			out = append(out, words(v.Index(i))...)
		}
		return out
	default:
		return nil
	}
}

// TestSealedIsBoundToItsRow moves secrets and grants to other rows, realms and columns.
func TestSealedIsBoundToItsRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.make(spec(mfa.Scan)), w.make(spec(mfa.Scan))
	grant, err := w.SealGrant(a, "the.grant.jwt")
	if err != nil {
		t.Fatal(err)
	}
	a.Grant = grant
	if jwt, err := w.OpenGrant(a); err != nil || jwt != "the.grant.jwt" {
		t.Fatalf("its own grant: %q, %v", jwt, err)
	}
	if bytes.Contains(grant, []byte("grant")) {
		t.Error("the grant is not sealed")
	}
	for name, edit := range map[string]func(*store.Challenge){
		"another row's":    func(c *store.Challenge) { c.Sealed, c.Grant = b.Sealed, sealed(t, w, b) },
		"in another row":   func(c *store.Challenge) { c.ID = "ch_other" },
		"in another realm": func(c *store.Challenge) { c.Realm = "other" },
		"exchanged":        func(c *store.Challenge) { c.Sealed, c.Grant = c.Grant, c.Sealed },
		"cut":              func(c *store.Challenge) { c.Sealed, c.Grant = c.Sealed[:len(c.Sealed)-1], c.Grant[:len(c.Grant)-1] },
		"gone":             func(c *store.Challenge) { c.Sealed, c.Grant = nil, nil },
	} {
		row := a.Challenge
		row.Expect = mfa.Expect{}
		edit(&row)
		if h, err := w.Open(row); !errors.Is(err, keys.ErrSealed) || h.Expect != (mfa.Expect{}) {
			t.Errorf("secrets %s: %v, %#v", name, err, h.Expect)
		}
		if jwt, err := w.OpenGrant(challenge.Held{Challenge: row}); !errors.Is(err, keys.ErrSealed) || jwt != "" {
			t.Errorf("grant %s: %q, %v", name, jwt, err)
		}
	}
}

func sealed(t *testing.T, w *world, h challenge.Held) []byte {
	t.Helper()
	grant, err := w.SealGrant(h, "another.grant.jwt")
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// TestLoad reads challenges as they are stored, also one that somebody copied.
func TestLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.make(spec(mfa.Scan, mfa.Digits))
	copied, moved := stored(t, w, h.ID), stored(t, w, h.ID)
	copied.ID, moved.Realm = "ch_copy", "other"
	w.update(func(tx store.Tx) error { return errors.Join(tx.InsertChallenge(copied), tx.InsertChallenge(moved)) })
	for _, test := range []struct {
		name string
		in   mfa.RealmID
		id   mfa.ChallengeID
		code mfa.Code
	}{
		{"itself", realm, h.ID, ""},
		{"an unknown id", realm, "ch_unknown", mfa.NotFound},
		{"a copy under another id", realm, "ch_copy", mfa.Internal},
		{"a copy in another realm", "other", h.ID, mfa.Internal},
	} {
		var got challenge.Held
		err := w.store.View(t.Context(), func(tx store.Tx) (err error) {
			got, err = w.Load(tx, test.in, test.id)
			return err
		})
		if mfa.CodeOf(err) != test.code || (test.code == "") != (got.Expect == h.Expect) {
			t.Errorf("%s: %v, the secrets are there: %t", test.name, err, got.Expect == h.Expect)
		}
	}
}

func TestWhereIsForgiving(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", `{"ip":7}`, "null"} {
		h := challenge.Held{Challenge: store.Challenge{Context: []byte(text)}}
		if got := h.Where(); got != (challenge.Context{}) {
			t.Errorf("%q gives %+v", text, got)
		}
	}
	if got := (challenge.Held{}).Scanned(); got != "" {
		t.Errorf("a challenge without a scan secret shows %q", got)
	}
	if a, b := challenge.FreshBack(), challenge.FreshBack(); len(a) != 6 || len(b) != 6 {
		t.Errorf("fresh digits %q and %q", a, b)
	}
}
