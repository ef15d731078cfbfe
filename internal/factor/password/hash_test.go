package password

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/argon2"

	"github.com/nodauth/nod/internal/mfa"
)

func TestHash(t *testing.T) {
	t.Parallel()
	h := NewHasher(0)
	hash, err := h.Hash(t.Context(), "right")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash is %s", hash)
	}
	again, err := h.Hash(t.Context(), "right")
	if err != nil || again == hash {
		t.Errorf("the same password has the same hash, %v", err)
	}
	for text, want := range map[string]bool{"right": true, "Right": false, "right ": false, "": false} {
		if got, err := h.Compare(t.Context(), hash, text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestEveryByteMatters holds that no length of input pushes its end out of the hash.
func TestEveryByteMatters(t *testing.T) {
	t.Parallel()
	h := NewHasher(0)
	for _, n := range []int{1, 56, 71, 72, 73, 128, 1023, 1024, 4000} {
		text := strings.Repeat("a", n-1)
		hash, err := h.Hash(t.Context(), text+"x")
		if err != nil {
			t.Fatal(err)
		}
		if right, err := h.Compare(t.Context(), hash, text+"x"); err != nil || !right {
			t.Errorf("%d bytes: %v, %v", n, right, err)
		}
		if right, err := h.Compare(t.Context(), hash, text+"y"); err != nil || right {
			t.Errorf("%d bytes with another end: %v, %v", n, right, err)
		}
	}
}

// TestOtherCosts reads a hash that was made when other costs were usual.
func TestOtherCosts(t *testing.T) {
	t.Parallel()
	p := phc{memory: 64, passes: 3, lanes: 2, salt: []byte("saltsaltsalt")}
	p.key = argon2.IDKey([]byte("right"), p.salt, p.passes, p.memory, p.lanes, 32)
	for text, want := range map[string]bool{"right": true, "wrong": false} {
		if got, err := NewHasher(1).Compare(t.Context(), p.String(), text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

// TestArgon2 has the reference implementation's vector for argon2id, version 19, t=2, m=65536, p=1.
func TestArgon2(t *testing.T) {
	t.Parallel()
	const want = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
	if got := hex.EncodeToString(argon2.IDKey([]byte("password"), []byte("somesalt"), 2, 65536, 1, 32)); got != want {
		t.Errorf("got %s", got)
	}
}

func TestDummy(t *testing.T) {
	t.Parallel()
	dummy := Dummy()
	p, err := parsePHC(dummy)
	if err != nil {
		t.Fatal(err)
	}
	real, err := NewHasher(1).Hash(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	q, err := parsePHC(real)
	if err != nil {
		t.Fatal(err)
	}
	p.salt, p.key, q.salt, q.key = nil, nil, nil, nil
	if d := cmp.Diff(p, q, cmp.AllowUnexported(phc{})); d != "" {
		t.Errorf("a dummy costs something else: %s", d)
	}
	if len(dummy) != len(real) {
		t.Errorf("%s is not as long as %s", dummy, real)
	}
	if right, err := NewHasher(1).Compare(t.Context(), dummy, ""); err != nil || right {
		t.Errorf("the dummy is right: %v, %v", right, err)
	}
}

func TestParsePHCRefuses(t *testing.T) {
	t.Parallel()
	const good = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U"
	if _, err := parsePHC(good); err != nil {
		t.Fatal(err)
	}
	for old, new := range map[string]string{
		"argon2id": "argon2i", "v=19": "v=16", "m=19456": "m=019456", "m=19456,": "m=0,", "t=2": "t=0", "p=1": "p=0",
		",t=2": ",t=17", ",p=1": ",p=17", "=19456": "=262145", "m=": "n=", "19456,t": "19456,,t", ",t": ", t",
		"c2Fs": "c2F\n", "c2FsdHNhbHRzYWx0c2FsdA": "c2Fs", "a2V5a2V5a2V5a2V5a2V5a2V5": "a2V5", "dA$": "dB$", "dA": "dA==",
		"$a2V5": "$$a2V5", "$argon": "argon", "=1$": "=1,k=1$", "t=2,": "",
	} {
		bad := strings.Replace(good, old, new, 1)
		if _, err := parsePHC(bad); !errors.Is(err, errPHC) || bad == good {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := NewHasher(1).Compare(t.Context(), "", "x"); err == nil {
		t.Error("an empty hash is compared")
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHasher(2)
		h.slots <- struct{}{} // two hashes are being made and do not end
		h.slots <- struct{}{}
		h.used.Store(2)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 2 * waitingPerSlot {
			wg.Go(func() {
				_, err := h.Hash(ctx, "x")
				if mfa.CodeOf(err) != mfa.Unavailable || !errors.Is(err, context.Canceled) {
					t.Errorf("one who waits and gives up: %v", err)
				}
			})
		}
		synctest.Wait()
		_, err := h.Hash(t.Context(), "x")
		if mfa.CodeOf(err) != mfa.Unavailable || mfa.ReasonOf(err) != mfa.ReasonBusy || errors.Is(err, context.Canceled) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		wg.Wait()
		<-h.slots
		h.used.Add(-1)
		if _, err := h.Hash(t.Context(), "x"); err != nil {
			t.Errorf("after the rush: %v", err)
		}
	})
}

func TestAtMostSlotsAtOnce(t *testing.T) {
	t.Parallel()
	h := NewHasher(1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := h.Hash(t.Context(), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(h.slots) != 0 || h.used.Load() != 0 {
		t.Errorf("%d slots and %d places are not given back", len(h.slots), h.used.Load())
	}
}

func FuzzPHC(f *testing.F) {
	f.Add(Dummy())
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err == nil && p.String() != s {
			t.Errorf("%q is read as %q", s, p.String())
		}
		if err == nil && (p.memory > maxMemory || p.passes > maxPasses || p.lanes > maxLanes || len(p.salt) > maxSalt) {
			t.Errorf("%q may cost %+v", s, p)
		}
	})
}
