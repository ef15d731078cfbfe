package authenticator

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/protocol"
)

// signRaw signs any payload in the realm's name.
func signRaw(t *testing.T, k *ecdsa.PrivateKey, typ protocol.Type, payload []byte) string {
	t.Helper()
	header, err := json.Marshal(map[string]string{"alg": "ES256", "kid": jwk(&k.PublicKey).Thumbprint(), "typ": string(typ)})
	if err != nil {
		t.Fatal(err)
	}
	e := base64.RawURLEncoding.EncodeToString
	input := e(header) + "." + e(payload)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + e(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func testRing(passphrase string) Keyring {
	r := Passphrase([]byte(passphrase)).(*passphraseRing)
	r.memory = 64 // KiB, to be quick
	return r
}

func put(t *testing.T, s *Store, device string) (AccountID, *ecdsa.PrivateKey) {
	t.Helper()
	current, next, key := newKey(t), newKey(t), newKey(t)
	raw, err := protocol.Sign(current, protocol.Header{}, &protocol.Keys{V: 1, Issuer: origin, Realm: "default", Serial: 1, Current: jwk(&current.PublicKey), Next: jwk(&next.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	r := record{Issuer: origin, Realm: "default", Device: device, Keys: raw, State: "active"}
	if r.Key, err = s.seal(r.id(), key); err != nil {
		t.Fatal(err)
	}
	if err := s.update(t.Context(), func(d *document) error { d.Accounts = append(d.Accounts, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return r.id(), key
}

func TestFileSealedByPassphrase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "accounts.json")
	s, err := OpenFile(path, testRing("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	id, key := put(t, s, "dev_1")
	other, _ := put(t, s, "dev_2")

	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(scalar))) {
		t.Error("the key stands in the file")
	}

	reopen := func(passphrase string) error {
		s, err := OpenFile(path, testRing(passphrase))
		if err != nil {
			return err
		}
		r, err := s.get(id)
		if err != nil {
			return err
		}
		got, err := s.open(id, r.Key)
		if err == nil && !got.Equal(key) {
			return errors.New("another key")
		}
		return err
	}
	if err := reopen("correct horse"); err != nil {
		t.Error(err)
	}
	if err := reopen("wrong horse"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := OpenFile(path, Plain()); !errors.Is(err, errRing) {
		t.Errorf("without a passphrase: %v", err)
	}
	// A sealed key belongs to its account.
	r, err := s.get(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.open(other, r.Key); !errors.Is(err, ErrPassphrase) {
		t.Errorf("key of another account: %v", err)
	}
	for i := range r.Key {
		broken := bytes.Clone(r.Key)
		broken[i] ^= 1
		if _, err := testRing("correct horse").Open(id.label(), broken); !errors.Is(err, ErrPassphrase) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	if _, err := testRing("correct horse").Open(id.label(), r.Key[:10]); !errors.Is(err, ErrPassphrase) {
		t.Errorf("cut short: %v", err)
	}
}

func TestOpenFileRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"readable by others": {`{"v":1,"keyring":"plain","accounts":[]}`, 0o644, "chmod 600"},
		"damaged":            {`{"v":1,"keyring":"plain","accounts":[`, 0o600, "damaged"},
		"empty":              {``, 0o600, "damaged"},
		"unknown member":     {`{"v":1,"keyring":"plain","accounts":[],"x":1}`, 0o600, "damaged"},
		"another version":    {`{"v":2,"keyring":"plain","accounts":[]}`, 0o600, "version 2"},
		"another keyring":    {`{"v":1,"keyring":"os","accounts":[]}`, 0o600, "another kind"},
	} {
		path := filepath.Join(t.TempDir(), "accounts.json")
		if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(path, Plain()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestFileSharedByProcesses: two stores on one file, as two processes have, lose no change.
func TestFileSharedByProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "accounts.json")
	first, err := OpenFile(path, Plain())
	if err != nil {
		t.Fatal(err)
	}
	id, _ := put(t, first, "dev_1")
	second, err := OpenFile(path, Plain())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const each = 20
	for _, s := range []*Store{first, second} {
		wg.Go(func() {
			for range each {
				if err := s.change(t.Context(), id, func(r *record) error { r.Seq++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r, err := first.get(id); err != nil || r.Seq != 2*each {
		t.Errorf("seq %d, %v", r.Seq, err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestFailedUpdateChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "accounts.json")
	s, err := OpenFile(path, Plain())
	if err != nil {
		t.Fatal(err)
	}
	id, _ := put(t, s, "dev_1")
	stop := errors.New("no")
	err = s.change(t.Context(), id, func(r *record) error { r.Seq = 9; return stop })
	if r, errGet := s.get(id); !errors.Is(err, stop) || errGet != nil || r.Seq != 0 {
		t.Errorf("%v, %v, seq %d", err, errGet, r.Seq)
	}
	if err := s.change(t.Context(), AccountID{}, func(*record) error { return nil }); !errors.Is(err, ErrNoAccount) {
		t.Errorf("unknown account: %v", err)
	}
}

func TestLockWaitsForTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "accounts.json")
		unlock, err := lockFile(t.Context(), path+".lock")
		if err != nil {
			t.Fatal(err)
		}
		s, err := OpenFile(path, Plain())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.update(ctx, func(*document) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		unlock()
		if err := s.update(t.Context(), func(*document) error { return nil }); err != nil {
			t.Errorf("after the other let go: %v", err)
		}
	})
}

func TestNewNeedsAStore(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("made without a store")
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("x: %w", &Error{Status: 403, Code: "forbidden", Reason: "device_revoked", Detail: "gone"})
	if !errors.Is(err, ErrRevoked) || err.Error() != "x: the server answered 403 forbidden device_revoked: gone" {
		t.Errorf("%v", err)
	}
	if errors.Is(&Error{Status: 403, Reason: "other"}, ErrRevoked) {
		t.Error("another reason is not revoked")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"now":1,"prompts":[{"jws":"a.b.c","others":0,"match_now":["scan"],"tries_left":3}],"keys":[],"notices":[],"device_state":"active"}`), 200)
	f.Add([]byte(`{"type":"about:blank","title":"x","status":409,"detail":"d","code":"conflict","state":"denied"}`), 409)
	current, err := protocol.ParseKeySet(fuzzKeySet(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		err := answer{status: status, body: body}.refusal()
		if (err == nil) != (status >= 200 && status < 300) {
			t.Fatalf("status %d: %v", status, err)
		}
		got, err := readAnswer[protocol.PollAnswer](body)
		if err != nil {
			return
		}
		d := newDevice(nil, record{UserID: "usr_1"}, nil)
		if u := d.read(current, got, nil, true); len(u.Prompts)+len(u.Notices) != 0 {
			t.Fatalf("took %+v, which nobody signed", u)
		}
	})
}

func fuzzKeySet(f *testing.F) string {
	f.Helper()
	s := &server{}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	s.keys = []*ecdsa.PrivateKey{k, next}
	return s.keySet(1)
}
