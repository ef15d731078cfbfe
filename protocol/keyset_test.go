package protocol

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type keySetVectors struct {
	Comment string `json:"comment"`
	PIN     string `json:"pin"`
	Pinned  string `json:"pinned"`
	Good    []struct {
		Name string   `json:"name"`
		Sets []string `json:"sets"`
	} `json:"good"`
	Refused []refusedSets `json:"refused"`
}

type refusedSets struct {
	Name  string   `json:"name"`
	Sets  []string `json:"sets"`
	Error string   `json:"error"`
}

func keySets(w *world) keySetVectors {
	v := keySetVectors{Comment: "The pinned set is the one that the PIN names. Sets follow it in order.", Pinned: w.keys1}
	pin, err := KeyPIN(w.keys1)
	if err != nil {
		panic(err)
	}
	v.PIN = pin
	type good = struct {
		Name string   `json:"name"`
		Sets []string `json:"sets"`
	}
	keys3 := sign(w.realm3, Header{}, w.keySet(3, w.realm3, w.stranger))
	v.Good = []good{{"none", []string{}}, {"one rotation", []string{w.keys2}}, {"two rotations", []string{w.keys2, keys3}}}
	change := func(f func(*Keys)) *Keys {
		k := w.keySet(2, w.realm2, w.realm3)
		f(k)
		return k
	}
	v.Refused = []refusedSets{
		{"a serial left out", []string{keys3}, "key_set"},
		{"a serial twice", []string{w.keys2, w.keys2}, "key_set"},
		{"the pinned set again", []string{w.keys1}, "key_set"},
		{"a stolen current key rotates", []string{sign(w.realm1, Header{}, w.keySet(2, w.realm1, w.stranger))}, "key_set"},
		{"a stranger's key", []string{sign(w.stranger, Header{}, w.keySet(2, w.stranger, w.realm3))}, "key_set"},
		{"signed by the old current key", []string{signRaw(w.realm1, marshal(Header{Alg: "ES256", KeyID: w.realm1.jwk().Thumbprint(), Type: TypeKeys}), marshal(w.keySet(2, w.realm2, w.realm3)))}, "signature"},
		{"signed by a stranger in the name of next", []string{signRaw(w.stranger, marshal(Header{Alg: "ES256", KeyID: w.realm2.jwk().Thumbprint(), Type: TypeKeys}), marshal(w.keySet(2, w.realm2, w.realm3)))}, "signature"},
		{"another issuer", []string{sign(w.realm2, Header{}, change(func(k *Keys) { k.Issuer = "https://evil.example" }))}, "key_set"},
		{"another realm", []string{sign(w.realm2, Header{}, change(func(k *Keys) { k.Realm = "other" }))}, "key_set"},
		{"the old current key as next", []string{sign(w.realm2, Header{}, w.keySet(2, w.realm2, w.realm1))}, "key_set"},
		{"the second of two is wrong", []string{w.keys2, sign(w.realm2, Header{}, w.keySet(3, w.realm2, w.realm3))}, "key_set"},
	}
	return v
}

func TestKeySets(t *testing.T) {
	t.Parallel()
	w := newWorld()
	v := keySets(w)
	golden(t, "keysets.json", v)
	pinned, err := OpenKeySet(v.Pinned, v.PIN)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range v.Good {
		last, err := pinned.Follow(g.Sets)
		if err != nil {
			t.Errorf("%s: %v", g.Name, err)
		} else if want := int64(len(g.Sets)) + 1; last.Serial != want {
			t.Errorf("%s: serial %d, want %d", g.Name, last.Serial, want)
		}
	}
	for _, r := range v.Refused {
		_, err := pinned.Follow(r.Sets)
		got := map[bool]string{errors.Is(err, ErrKeySet): "key_set", errors.Is(err, ErrSignature): "signature"}[true]
		if got != r.Error {
			t.Errorf("%s: got %v, want %s", r.Name, err, r.Error)
		}
	}
	if _, err := OpenKeySet(w.keys2, v.PIN); !errors.Is(err, ErrKeySet) {
		t.Errorf("another set under this PIN: %v", err)
	}
}

func TestOpenPrompt(t *testing.T) {
	t.Parallel()
	w := newWorld()
	one, err := ParseKeySet(w.keys1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := one.Advance(w.keys2)
	if err != nil {
		t.Fatal(err)
	}
	p, digest, err := one.OpenPrompt(w.prompt)
	if diff := cmp.Diff(*w.promptPayload(), p); err != nil || diff != "" {
		t.Errorf("%v, (-want +got)\n%s", err, diff)
	}
	if want := PromptSHA256(w.promptBytes); digest != want {
		t.Errorf("digest %s, want %s", digest, want)
	}
	if _, _, err := two.OpenPrompt(w.prompt); !errors.Is(err, ErrSignature) {
		t.Errorf("signed by a key that was rotated away: %v", err)
	}
	if _, _, err := one.OpenPrompt(sign(w.stranger, Header{}, w.promptPayload())); !errors.Is(err, ErrSignature) {
		t.Errorf("signed by a stranger: %v", err)
	}
	foreign := w.promptPayload()
	foreign.Issuer = "https://evil.example"
	if _, _, err := one.OpenPrompt(sign(w.realm1, Header{}, foreign)); !errors.Is(err, ErrKeySet) {
		t.Errorf("of another issuer: %v", err)
	}
	foreign = w.promptPayload()
	foreign.Realm = "other"
	if _, _, err := one.OpenPrompt(sign(w.realm1, Header{}, foreign)); !errors.Is(err, ErrKeySet) {
		t.Errorf("of another realm: %v", err)
	}
	h, body, _ := parts(w.prompt)
	newer := signRaw(w.realm1, h, append([]byte(`{"mood":"good",`), body[1:]...))
	p, _, err = one.OpenPrompt(newer)
	if !errors.Is(err, ErrUpdateRequired) || p.Challenge != testChal || p.App.Name != "" {
		t.Errorf("newer prompt: %+v, %v", p, err)
	}
	if _, _, err := two.OpenPrompt(newer); !errors.Is(err, ErrSignature) {
		t.Errorf("newer prompt, wrong key: %v", err)
	}
}

func TestOpenEnrolled(t *testing.T) {
	t.Parallel()
	w := newWorld()
	pin := keySets(w).PIN
	payload := &Enrolled{V: 1, Issuer: testIssuer, Realm: "default", Device: testDevice, User: User{testUser, "jo"}, Keys: w.keys1, ConfirmCode: "013579", ConfirmBy: 1763789400000}
	e, set, err := OpenEnrolled(sign(w.realm1, Header{}, payload), pin)
	if err != nil || set.Serial != 1 || e.ConfirmCode != "013579" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, _, err := OpenEnrolled(sign(w.realm1, Header{}, payload), testSecret); !errors.Is(err, ErrKeySet) {
		t.Errorf("another PIN: %v", err)
	}
	if _, _, err := OpenEnrolled(sign(w.stranger, Header{}, payload), pin); !errors.Is(err, ErrSignature) {
		t.Errorf("another signer: %v", err)
	}
	payload.Realm = "other"
	if _, _, err := OpenEnrolled(sign(w.realm1, Header{}, payload), pin); !errors.Is(err, ErrKeySet) {
		t.Errorf("another realm than its key set: %v", err)
	}
}

func TestRotateOpen(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := &Rotate{V: 1, Seq: 1, Inner: sign(w.newKey, Header{}, &NewKey{V: 1, Device: testDevice, OldThumbprint: w.device.jwk().Thumbprint()})}
	n, key, err := r.Open()
	if err != nil || key != w.newKey.jwk() || n.Device != testDevice {
		t.Errorf("%+v, %+v, %v", n, key, err)
	}
	h, p, _ := parts(r.Inner)
	r.Inner = signRaw(w.device, h, p)
	if _, _, err := r.Open(); !errors.Is(err, ErrSignature) {
		t.Errorf("inner signed by another key: %v", err)
	}
}

func FuzzKeySet(f *testing.F) {
	w := newWorld()
	for _, r := range keySets(w).Refused {
		f.Add(r.Sets[0])
	}
	f.Add(w.keys2)
	pinned, err := ParseKeySet(w.keys1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		next, err := pinned.Advance(raw)
		if err == nil && next.Current != pinned.Next {
			t.Fatalf("followed %q", raw)
		}
	})
}
