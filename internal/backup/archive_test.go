package backup_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/backup"
	"github.com/nodauth/nod/internal/secret"
)

func content() map[string]string {
	return map[string]string{backup.Database: strings.Repeat("a database ", 100), backup.SealKey: "a key"}
}

func manifest(files map[string]string) backup.Manifest {
	m := backup.Manifest{
		Format: backup.Format, Nod: "v0", Schema: 2, Issuer: "https://nod.example.com", Realms: []string{"default"},
		Made: time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC),
	}
	for _, name := range []string{backup.Database, backup.SealKey} {
		if text, ok := files[name]; ok {
			sum := sha256.Sum256([]byte(text))
			m.Members = append(m.Members, backup.Member{Name: name, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])})
		}
	}
	return m
}

func write(t testing.TB, m backup.Manifest, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	err := backup.Write(&b, m, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(files[name])), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

// read reads an archive, and fails the test if anything is written under a name that a backup has
// not.
func read(t testing.TB, r io.Reader) (backup.Manifest, map[string]string, error) {
	t.Helper()
	parts := map[string]*buffer{}
	m, err := backup.Read(r, func(backup.Manifest) error { return nil }, func(name string) (io.WriteCloser, error) {
		if name != backup.Database && name != backup.SealKey {
			t.Fatalf("a member called %q is to be written", name)
		}
		parts[name] = new(buffer)
		return parts[name], nil
	})
	files := map[string]string{}
	for name, b := range parts {
		files[name] = b.String()
	}
	return m, files, err
}

func TestArchiveReadsWhatItWrote(t *testing.T) {
	t.Parallel()
	for _, files := range []map[string]string{content(), {backup.Database: "alone"}, {backup.Database: ""}} {
		want := manifest(files)
		m, got, err := read(t, bytes.NewReader(write(t, want, files)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

// TestEveryByteOfAnArchiveCounts changes a bit of each byte in turn and cuts the archive at each
// length.
func TestEveryByteOfAnArchiveCounts(t *testing.T) {
	t.Parallel()
	files := map[string]string{backup.Database: "d", backup.SealKey: "k"}
	good := write(t, manifest(files), files)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, _, err := read(t, bytes.NewReader(bad)); !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, _, err := read(t, bytes.NewReader(good[:i])); !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	for _, more := range []string{"\x00", strings.Repeat("\x00", 1<<20), "x"} {
		if _, _, err := read(t, strings.NewReader(string(good)+more)); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("with %d bytes more: %v", len(more), err)
		}
	}
}

// entry is a member of an archive made by hand.
type entry struct {
	tar.Header
	text string
}

func archive(t testing.TB, list ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range list {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.text))
		}
		e.Mode, e.Format = 0o600, tar.FormatUSTAR
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func named(name, text string) entry { return entry{tar.Header{Name: name}, text} }

func TestArchivesOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	const sum = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" // of foo
	one := `{"name":"nod.db","size":3,"sha256":"` + sum + `"}`
	text := func(members string) string {
		return `{"format":1,"nod":"","schema":2,"issuer":"","realms":null,"epoch":0,"made":"2026-11-20T03:00:00Z","members":[` + members + `]}`
	}
	whole := func(m string, more ...entry) []byte {
		d := sha256.Sum256([]byte(m))
		list := append([]entry{named("manifest.json", m)}, more...)
		return archive(t, append(list, named("manifest.sha256", hex.EncodeToString(d[:])+"\n"))...)
	}
	foo := named("nod.db", "foo")
	if _, _, err := read(t, bytes.NewReader(whole(text(one), foo))); err != nil {
		t.Fatalf("what the others differ from: %v", err)
	}
	for name, bad := range map[string][]byte{
		"empty":               {},
		"no archive":          []byte(strings.Repeat("x", 4096)),
		"an empty archive":    archive(t),
		"a path":              whole(text(`{"name":"../nod.db","size":3,"sha256":"`+sum+`"}`), named("../nod.db", "foo")),
		"an absolute path":    whole(text(`{"name":"/etc/passwd","size":3,"sha256":"`+sum+`"}`), named("/etc/passwd", "foo")),
		"a path in the tar":   whole(text(one), named("../nod.db", "foo")),
		"a dot":               whole(text(one), named("./nod.db", "foo")),
		"a symbolic link":     whole(text(one), entry{tar.Header{Name: "nod.db", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""}),
		"a hard link":         whole(text(one), entry{tar.Header{Name: "nod.db", Typeflag: tar.TypeLink, Linkname: "manifest.json"}, ""}),
		"a directory":         whole(text(one), entry{tar.Header{Name: "nod.db", Typeflag: tar.TypeDir}, ""}),
		"a device":            whole(text(one), entry{tar.Header{Name: "nod.db", Typeflag: tar.TypeBlock}, ""}),
		"one more":            whole(text(one), foo, named("seal.json", "x")),
		"one twice":           whole(text(one+","+one), foo, foo),
		"only a key":          whole(text(strings.ReplaceAll(one, "nod.db", "seal.json")), named("seal.json", "foo")),
		"none":                whole(text("")),
		"another length":      whole(text(strings.Replace(one, "3", "4", 1)), foo),
		"a negative length":   whole(text(strings.Replace(one, "3", "-3", 1)), foo),
		"capitals":            whole(text(strings.ToUpper(one)), foo),
		"another digest":      whole(text(strings.Replace(one, "2c", "2d", 1)), foo),
		"a doubled member":    whole(strings.Replace(text(one), `"nod":""`, `"nod":"","nod":""`, 1), foo),
		"an unknown member":   whole(strings.Replace(text(one), `"nod":""`, `"nod":"","more":1`, 1), foo),
		"another format":      whole(strings.Replace(text(one), `"format":1`, `"format":2`, 1), foo),
		"a manifest too long": whole(text(one)+strings.Repeat(" ", 1<<16), foo),
		"no digest":           archive(t, named("manifest.json", text(one)), foo),
		"owner and date": archive(t, entry{tar.Header{Name: "manifest.json", Uid: 7, ModTime: time.Unix(1, 0)}, text(one)}, foo,
			named("manifest.sha256", "x")),
	} {
		if _, _, err := read(t, bytes.NewReader(bad)); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManifestMayBeRefused(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	_, err := backup.Read(bytes.NewReader(write(t, manifest(content()), content())), func(backup.Manifest) error { return no },
		func(string) (io.WriteCloser, error) { t.Error("read on"); return new(buffer), nil })
	if !errors.Is(err, no) {
		t.Error(err)
	}
}

func TestEncryption(t *testing.T) {
	t.Parallel()
	one, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(r backup.Recipients) []byte {
		var b bytes.Buffer
		w, err := backup.Encrypt(&b, r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(write(t, manifest(content()), content())); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	identity := func(i *age.X25519Identity) backup.Identity {
		return backup.Identity{File: []byte("# a comment\n" + i.String() + "\n")}
	}
	open := func(b []byte, i backup.Identity) error {
		r, _, err := backup.Decrypt(bytes.NewReader(b), i)
		if err != nil {
			return err
		}
		_, _, err = read(t, r)
		return err
	}
	public := sealed(backup.Recipients{Public: []string{one.Recipient().String()}})
	phrase := sealed(backup.Recipients{Passphrase: secret.New("correct horse")})
	if bytes.Contains(public, []byte("a database")) {
		t.Error("it is not encrypted")
	}
	for name, test := range map[string]struct {
		file []byte
		by   backup.Identity
		want error
	}{
		"identity":           {public, identity(one), nil},
		"another identity":   {public, identity(other), backup.ErrIdentity},
		"a passphrase":       {public, backup.Identity{Passphrase: secret.New("x")}, backup.ErrIdentity},
		"passphrase":         {phrase, backup.Identity{Passphrase: secret.New("correct horse")}, nil},
		"another passphrase": {phrase, backup.Identity{Passphrase: secret.New("battery")}, backup.ErrIdentity},
		"not encrypted":      {sealed(backup.Recipients{Plain: true}), backup.Identity{}, nil},
		"cut":                {public[:len(public)-1], identity(one), backup.ErrDamaged},
		"longer":             {append(bytes.Clone(public), 0), identity(one), backup.ErrDamaged},
	} {
		if err := open(test.file, test.by); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 0; i < len(public); i += 7 {
		bad := bytes.Clone(public)
		bad[i] ^= 1
		if open(bad, identity(one)) == nil {
			t.Errorf("byte %d is not looked at", i)
		}
	}
	if open(public, backup.Identity{}) == nil {
		t.Error("opened with nothing")
	}
	if open(public, backup.Identity{File: []byte("no identity")}) == nil {
		t.Error("opened with what is no identity")
	}
	for _, bad := range []backup.Recipients{
		{},
		{Plain: true, Passphrase: secret.New("x")},
		{Public: []string{"age1nobody"}},
		{Public: []string{one.Recipient().String()}, Plain: true},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// FuzzArchive wants what is accepted to be the very bytes that Write gives for it.
func FuzzArchive(f *testing.F) {
	f.Add(write(f, manifest(content()), content()))
	f.Add(archive(f, named("manifest.json", "{}")))
	f.Add(archive(f, named("../../etc/passwd", "x")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, files, err := read(t, bytes.NewReader(b))
		if err != nil {
			return
		}
		if !bytes.Equal(write(t, m, files), b) {
			t.Error("two archives have one content")
		}
	})
}
