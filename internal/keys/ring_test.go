package keys_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/keys"
)

// vectors gives the ring of the root in testdata, whose outputs were computed apart, with
// HKDF and HMAC in another language.
func vectors(t testing.TB) *keys.Ring {
	t.Helper()
	root, err := os.ReadFile(filepath.Join("testdata", "seal.json"))
	if err != nil {
		t.Fatal(err)
	}
	return open(t, keys.Config{Root: root})
}

func fresh(t testing.TB) *keys.Ring {
	t.Helper()
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	return open(t, keys.Config{Root: root})
}

func open(t testing.TB, c keys.Config) *keys.Ring {
	t.Helper()
	r, err := keys.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var seed = keys.AAD{Realm: "default", Table: "factors", Row: "fac_1", Column: "seed"}

func TestVectors(t *testing.T) {
	t.Parallel()
	r := vectors(t)
	if got, want := hex.EncodeToString(r.Derive("pseudo user", []byte("nobody"), 20)), "e448eb9a34576ac95d3b0ca921dd4d9da92c2697"; got != want {
		t.Errorf("Derive: got %s, want %s", got, want)
	}
	if got, want := r.DeriveID("usr_", "pseudo user", []byte("nobody")), "usr_4reoxgruk5vmsxj3bsusdxkntw"; got != want {
		t.Errorf("DeriveID: got %s, want %s", got, want)
	}
	sealed, err := hex.DecodeString("01b77a1edbb1dfbc6b462248d664dc40db369e030177c90c9f3dc52d278616633a7886976b8c169aa1c78eb794dffcd7960ba5")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Open(sealed, seed); err != nil || string(got) != "a seed" {
		t.Errorf("Open: got %q, %v", got, err)
	}
}

func TestSealedOnlyOpensInItsPlace(t *testing.T) {
	t.Parallel()
	r := fresh(t)
	sealed, err := r.Seal([]byte("plain"), seed)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("plain")) {
		t.Error("the plain text can be read")
	}
	if got, err := r.Open(sealed, seed); err != nil || string(got) != "plain" {
		t.Errorf("got %q, %v", got, err)
	}
	for name, ad := range map[string]keys.AAD{
		"realm":        {"other", "factors", "fac_1", "seed"},
		"table":        {"default", "applications", "fac_1", "seed"},
		"row":          {"default", "factors", "fac_2", "seed"},
		"column":       {"default", "factors", "fac_1", "hash"},
		"moved border": {"default", "factorsf", "ac_1", "seed"},
		"swapped":      {"factors", "default", "fac_1", "seed"},
	} {
		if got, err := r.Open(sealed, ad); !errors.Is(err, keys.ErrSealed) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if got, err := fresh(t).Open(sealed, seed); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("another root: got %q, %v", got, err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := r.Open(changed, seed); !errors.Is(err, keys.ErrSealed) {
			t.Errorf("byte %d changed: got %q, %v", i, got, err)
		}
		if got, err := r.Open(sealed[:i], seed); !errors.Is(err, keys.ErrSealed) {
			t.Errorf("cut at %d: got %q, %v", i, got, err)
		}
	}
	again, err := r.Seal([]byte("plain"), seed)
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("two sealed values are equal, %v", err)
	}
}

func TestPlaceMustBeComplete(t *testing.T) {
	t.Parallel()
	r := fresh(t)
	for _, ad := range []keys.AAD{
		{},
		{"", "t", "r", "c"},
		{"x", "", "r", "c"},
		{"x", "t", "", "c"},
		{"x", "t", "r", ""},
	} {
		if _, err := r.Seal([]byte("p"), ad); err == nil {
			t.Errorf("Seal took %+v", ad)
		}
		if _, err := r.Open([]byte("p"), ad); err == nil {
			t.Errorf("Open took %+v", ad)
		}
	}
}

func TestSealRoundTrip(t *testing.T) {
	t.Parallel()
	r := fresh(t)
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringN(1, 40, -1)
		ad := keys.AAD{part.Draw(t, "realm"), part.Draw(t, "table"), part.Draw(t, "row"), part.Draw(t, "column")}
		other := keys.AAD{part.Draw(t, "realm2"), part.Draw(t, "table2"), part.Draw(t, "row2"), part.Draw(t, "column2")}
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		sealed, err := r.Seal(plain, ad)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Open(sealed, ad); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %x, %v, want %x", got, err, plain)
		}
		if _, err := r.Open(sealed, other); (err == nil) != (ad == other) {
			t.Fatalf("sealed for %+v, opened for %+v: %v", ad, other, err)
		}
	})
}

func TestDeriveTellsInputsApart(t *testing.T) {
	t.Parallel()
	r, other := fresh(t), fresh(t)
	seen := map[string]string{}
	for name, out := range map[string][]byte{
		"a, bc":      r.Derive("a", []byte("bc"), 32),
		"ab, c":      r.Derive("ab", []byte("c"), 32),
		"abc,":       r.Derive("abc", nil, 32),
		", abc":      r.Derive("", []byte("abc"), 32),
		"other root": other.Derive("a", []byte("bc"), 32),
	} {
		if before, twice := seen[string(out)]; twice {
			t.Errorf("%q and %q give the same", name, before)
		}
		seen[string(out)] = name
	}
	if !bytes.Equal(r.Derive("a", []byte("bc"), 32), r.Derive("a", []byte("bc"), 32)) {
		t.Error("the same input gives different bytes")
	}
	for _, n := range []int{1, 16, 33, 8160} {
		if got := len(r.Derive("p", nil, n)); got != n {
			t.Errorf("got %d bytes, want %d", got, n)
		}
	}
	for _, n := range []int{-1, 0, 8161} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d bytes: no panic", n)
				}
			}()
			r.Derive("p", nil, n)
		}()
	}
}

func TestEncodeIsUnambiguous(t *testing.T) {
	t.Parallel()
	parts := rapid.SliceOfN(rapid.StringOf(rapid.RuneFrom([]rune{0, 1, 'a'})), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		same := len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			same = a[i] == b[i]
		}
		if got := bytes.Equal(keys.Encode(a...), keys.Encode(b...)); got != same {
			t.Fatalf("%q and %q: equal bytes %v", a, b, got)
		}
	})
}

func TestRotatedRootOpensOldValues(t *testing.T) {
	t.Parallel()
	root, err := os.ReadFile(filepath.Join("testdata", "seal.json"))
	if err != nil {
		t.Fatal(err)
	}
	before := vectors(t)
	sealed, err := before.Seal([]byte("old"), seed)
	if err != nil {
		t.Fatal(err)
	}
	start, end := strings.Index(string(root), `"aead":`)+7, strings.Index(string(root), `,"prf"`)
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(strings.NewReader(string(root)[start:end])))
	if err != nil {
		t.Fatal(err)
	}
	m := keyset.NewManagerFromHandle(h)
	id, err := m.Add(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	if h, err = m.Handle(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		t.Fatal(err)
	}
	after := open(t, keys.Config{Root: []byte(string(root)[:start] + b.String() + string(root)[end:])})
	if got, err := after.Open(sealed, seed); err != nil || string(got) != "old" {
		t.Errorf("old value: %q, %v", got, err)
	}
	if sealed, err = after.Seal([]byte("new"), seed); err != nil {
		t.Fatal(err)
	}
	if _, err := before.Open(sealed, seed); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("the new key is not used: %v", err)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seal.json")
	if _, err := keys.Open(keys.Config{File: path}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	first := open(t, keys.Config{File: path, Create: true})
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	second := open(t, keys.Config{File: path, Create: true})
	third := open(t, keys.Config{File: path})
	if !bytes.Equal(first.Derive("p", nil, 32), second.Derive("p", nil, 32)) ||
		!bytes.Equal(first.Derive("p", nil, 32), third.Derive("p", nil, 32)) {
		t.Error("a second start has another root")
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Open(keys.Config{File: path, Create: true}); err == nil || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := keys.Open(keys.Config{File: t.TempDir(), Create: true}); err == nil {
		t.Error("a folder was taken for a root")
	}
	if _, err := keys.Open(keys.Config{File: filepath.Join(t.TempDir(), "none", "seal.json"), Create: true}); err == nil {
		t.Error("a root was made in a folder that does not exist")
	}
	if _, err := keys.Open(keys.Config{}); err == nil {
		t.Error("opened nothing")
	}
}

func TestFirstStartsTogether(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "seal.json")
	out := make([][]byte, 32)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			r, err := keys.Open(keys.Config{File: path, Create: true})
			if err != nil {
				t.Error(err)
				return
			}
			out[i] = r.Derive("p", nil, 32)
		})
	}
	wg.Wait()
	for _, b := range out {
		if !bytes.Equal(b, out[0]) {
			t.Fatal("two processes have different roots")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, want 1 (%v)", len(entries), err)
	}
}

func TestBadRootsAreRefusedAndNotQuoted(t *testing.T) {
	t.Parallel()
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	good := string(root)
	value := good[strings.Index(good, `"value":"`)+9:][:40]
	for name, bad := range map[string]string{
		"no JSON":        "secret" + value,
		"empty object":   "{}",
		"cut":            good[:len(good)-20],
		"other version":  strings.Replace(good, `"v":1`, `"v":2`, 1),
		"unknown member": strings.Replace(good, `"v":1`, `"v":1,"w":"`+value+`"`, 1),
		"twice":          strings.Replace(good, `"v":1`, `"v":1,"v":1`, 1),
		"bad value":      strings.Replace(good, value, "!!"+value[2:], 1),
		"swapped":        strings.NewReplacer(`"aead"`, `"prf"`, `"prf"`, `"aead"`).Replace(good),
		"trailing":       good + good,
	} {
		_, err := keys.Open(keys.Config{Root: []byte(bad)})
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), value[4:12]) {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}
