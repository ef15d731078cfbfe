package keys_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/keys"
)

func sealed(t testing.TB, r *keys.Ring) []byte {
	t.Helper()
	b, err := r.Seal([]byte("plain"), seed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func opens(t testing.TB, r *keys.Ring, b []byte) bool {
	t.Helper()
	plain, err := r.Open(b, seed)
	if err != nil && !errors.Is(err, keys.ErrSealed) {
		t.Fatal(err)
	}
	return err == nil && string(plain) == "plain"
}

func TestSealRotation(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "seal.json")
	r := open(t, keys.Config{File: file, Create: true})
	other := open(t, keys.Config{File: file}) // another node, which is told later
	old := r.SealKey()
	before := sealed(t, r)
	derived := r.Derive("user", []byte("jo"), 20)
	nonce := r.Nonce("device", "default", "dev_a", noon)

	var added string
	if err := keys.EditFile(file, func(root []byte) (next []byte, err error) {
		next, added, err = keys.AddSealKey(root)
		return next, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.UseSealKey(added); !errors.Is(err, keys.ErrNoSealKey) {
		t.Errorf("a key that was not read seals: %v", err)
	}
	if changed, err := r.Reload(); !changed || err != nil {
		t.Fatalf("Reload: %v, %v", changed, err)
	}
	if changed, err := r.Reload(); changed || err != nil {
		t.Errorf("Reload of the same: %v, %v", changed, err)
	}
	if diff := cmp.Diff([]string{old, added}, r.SealKeys()); diff != "" {
		t.Error(diff)
	}
	if got := r.SealKey(); got != old {
		t.Errorf("after adding %s seals, want %s", got, old)
	}
	if err := r.UseSealKey(added); err != nil {
		t.Fatal(err)
	}
	after := sealed(t, r)
	if got, want := [2]string{keys.SealedBy(before), keys.SealedBy(after)}, [2]string{old, added}; got != want {
		t.Errorf("sealed by %v, want %v", got, want)
	}
	if !opens(t, r, before) || !opens(t, r, after) {
		t.Error("a ring with both keys does not open what either sealed")
	}
	if opens(t, other, after) {
		t.Error("a node without the key opens what it sealed")
	}

	if err := keys.EditFile(file, func(root []byte) ([]byte, error) { return keys.KeepSealKey(root, added) }); err != nil {
		t.Fatal(err)
	}
	if changed, err := other.Reload(); changed || !errors.Is(err, keys.ErrNoSealKey) {
		t.Errorf("a node takes a document without the key that it seals with: %v, %v", changed, err)
	}
	other.StopSealing()
	if _, err := other.Seal([]byte("plain"), seed); !errors.Is(err, keys.ErrNoSealKey) || other.SealKey() != "" {
		t.Errorf("a node that lacks the key seals with %q: %v", other.SealKey(), err)
	}
	if !opens(t, other, before) {
		t.Error("a node that seals no more opens no more")
	}
	if changed, err := other.Reload(); !changed || err != nil || other.SealKey() != "" {
		t.Errorf("a node that seals nothing reads the document anew: %v, %v, seals with %q", changed, err, other.SealKey())
	}
	if err := other.UseSealKey(added); err != nil || !opens(t, r, sealed(t, other)) {
		t.Errorf("it does not seal again: %v", err)
	}
	if changed, err := r.Reload(); !changed || err != nil {
		t.Fatalf("Reload: %v, %v", changed, err)
	}
	if opens(t, r, before) || !opens(t, r, after) {
		t.Error("the key that was dropped opens, or the one that was kept does not")
	}
	if !bytes.Equal(derived, r.Derive("user", []byte("jo"), 20)) || !r.CheckNonce(nonce, "device", "default", "dev_a", noon) {
		t.Error("what is derived changed with the sealing key")
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the file there are %v, %v", left, err)
	}
}

func TestSealRotationRefuses(t *testing.T) {
	t.Parallel()
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "no", "00000000", "-1", "ffffffffff"} {
		if _, err := keys.KeepSealKey(root, id); !errors.Is(err, keys.ErrNoSealKey) {
			t.Errorf("keep %q: %v", id, err)
		}
	}
	if _, _, err := keys.AddSealKey([]byte("{}")); err == nil {
		t.Error("a key was added to what is no root")
	}
	file := filepath.Join(t.TempDir(), "seal.json")
	r := open(t, keys.Config{File: file, Create: true})
	if err := os.WriteFile(file, root, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Reload(); changed || err == nil {
		t.Error("another installation's document is taken")
	}
	given := open(t, keys.Config{Root: root})
	if changed, err := given.Reload(); changed || err != nil {
		t.Errorf("Reload of a root that was given: %v, %v", changed, err)
	}
	for _, b := range [][]byte{nil, {1}, {1, 2, 3, 4}, {0, 2, 3, 4, 5, 6}} {
		if got := keys.SealedBy(b); got != "" {
			t.Errorf("SealedBy(%v) = %q", b, got)
		}
	}
}
