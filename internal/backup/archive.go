// Package backup writes and reads the files that hold a backup: a tar archive, encrypted with age.
//
//	manifest.json      what the backup is of, and the length and SHA-256 of the other members
//	nod.db             the database, as one consistent file
//	seal.json          the sealing key, unless it is kept elsewhere
//	manifest.sha256    of the first member
//
// A reader takes exactly these members in this order, as regular files of the lengths that the
// manifest says, and in the very bytes in which this package writes them: whatever else is there,
// and every changed bit, is an error. No name in an archive ever becomes a path.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// Format is the version of the archive that this package writes and reads.
const Format = 1

// The members of an archive.
const (
	Database = "nod.db"
	SealKey  = "seal.json"

	manifestName = "manifest.json"
	digestName   = "manifest.sha256"
)

// maxManifest is how long a manifest may be.
const maxManifest = 64 << 10

// maxSealKey is how long a sealing key may be.
const maxSealKey = 1 << 20

// Member is a file of a backup.
type Member struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // in lower-case hexadecimal
}

// Manifest says what a backup is of.
type Manifest struct {
	Format  int       `json:"format"`
	Nod     string    `json:"nod"`    // version of the program that made it
	Schema  int64     `json:"schema"` // of the database
	Issuer  string    `json:"issuer"` // of the default realm
	Realms  []string  `json:"realms"`
	Epoch   int64     `json:"epoch"` // how often the installation was restored
	Made    time.Time `json:"made"`  // nothing after it is in the backup
	Members []Member  `json:"members"`
}

// check says what is wrong with a manifest.
func (m Manifest) check() error {
	if m.Format != Format {
		return fmt.Errorf("the archive has format %d, this nod knows %d", m.Format, Format)
	}
	var names []string
	for _, f := range m.Members {
		names = append(names, f.Name)
		sum, err := hex.DecodeString(f.SHA256)
		if err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != f.SHA256 || f.Size < 0 {
			return errors.New("its manifest is not one")
		}
		if f.Name == SealKey && f.Size > maxSealKey {
			return errors.New("its sealing key is too long")
		}
	}
	if !slices.Equal(names, []string{Database}) && !slices.Equal(names, []string{Database, SealKey}) {
		return errors.New("its manifest names other members than a backup has")
	}
	return nil
}

// Write writes an archive. open gives the content of each member that the manifest names.
func Write(w io.Writer, m Manifest, open func(name string) (io.ReadCloser, error)) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	text, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	a := tar.NewWriter(w)
	if err := put(a, manifestName, int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	for _, f := range m.Members {
		content, err := open(f.Name)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Name, err)
		}
		sum := sha256.New()
		err = put(a, f.Name, f.Size, io.TeeReader(content, sum))
		if err = errors.Join(err, content.Close()); err != nil {
			return err
		}
		if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			return fmt.Errorf("%s changed while it was read", f.Name)
		}
	}
	digest := digestOf(text)
	if err := put(a, digestName, int64(len(digest)), bytes.NewReader(digest)); err != nil {
		return err
	}
	return a.Close()
}

func digestOf(manifest []byte) []byte {
	sum := sha256.Sum256(manifest)
	return []byte(hex.EncodeToString(sum[:]) + "\n")
}

// maxPlainSize is above what the plain form of a header holds.
const maxPlainSize = 1 << 33

func header(name string, size int64) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatUSTAR}
	if size >= maxPlainSize {
		h.Format = tar.FormatPAX
	}
	return h
}

func put(a *tar.Writer, name string, size int64, content io.Reader) error {
	if err := a.WriteHeader(header(name, size)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.CopyN(a, content, size); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ErrDamaged is returned by Read for what is not an archive in the form that Write gives it.
var ErrDamaged = errors.New("the backup is damaged, or no backup")

// Read reads an archive. begin is called with the manifest before any member is read and may refuse
// it; member gives where the content of each goes. Nothing of it is to be believed before Read has
// returned without an error, since only then has everything been compared.
func Read(r io.Reader, begin func(Manifest) error, member func(name string) (io.WriteCloser, error)) (Manifest, error) {
	raw := sha256.New()
	in := io.TeeReader(r, raw)
	// What was understood is written again: other bytes than these say something that was not.
	again := sha256.New()
	out := tar.NewWriter(again)
	a := tar.NewReader(in)

	var text bytes.Buffer
	if err := take(a, out, manifestName, -1, &text); err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(text.Bytes(), &m, json.RejectUnknownMembers(true)); err != nil {
		return Manifest{}, fmt.Errorf("%w: its manifest cannot be read", ErrDamaged)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := begin(m); err != nil {
		return m, err
	}
	for _, f := range m.Members {
		if err := takeMember(a, out, f, member); err != nil {
			return m, err
		}
	}
	var digest bytes.Buffer
	want := digestOf(text.Bytes())
	if err := take(a, out, digestName, int64(len(want)), &digest); err != nil {
		return m, err
	}
	if !bytes.Equal(digest.Bytes(), want) {
		return m, fmt.Errorf("%w: its manifest was changed", ErrDamaged)
	}
	return m, end(in, out, raw, again)
}

// end reads what follows the members and compares the whole.
func end(in io.Reader, out *tar.Writer, raw, again hash.Hash) error {
	if err := out.Close(); err != nil {
		return fmt.Errorf("compare backup: %w", err)
	}
	const most = 64 << 10 // of padding: a tar archive ends with two blocks of zeros
	n, err := io.Copy(io.Discard, io.LimitReader(in, most))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if n == most || !bytes.Equal(raw.Sum(nil), again.Sum(nil)) {
		return fmt.Errorf("%w: there is more in it, or other bytes than nod writes", ErrDamaged)
	}
	return nil
}

func takeMember(a *tar.Reader, out *tar.Writer, f Member, member func(name string) (io.WriteCloser, error)) error {
	to, err := member(f.Name)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	sum := sha256.New()
	err = take(a, out, f.Name, f.Size, io.MultiWriter(to, sum))
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%w: %s has another digest than its manifest says", ErrDamaged, f.Name)
	}
	return nil
}

// take reads the next member, which must be the one named and, unless size is negative, as long.
func take(a *tar.Reader, out *tar.Writer, name string, size int64, to io.Writer) error {
	h, err := a.Next()
	if err != nil {
		return fmt.Errorf("%w: %s is not there: %w", ErrDamaged, name, err)
	}
	if h.Typeflag != tar.TypeReg || h.Name != name || h.Linkname != "" || h.Size < 0 {
		return fmt.Errorf("%w: another member stands where %s should", ErrDamaged, name)
	}
	if size < 0 && h.Size > maxManifest || size >= 0 && h.Size != size {
		return fmt.Errorf("%w: %s has the wrong length", ErrDamaged, name)
	}
	if err := out.WriteHeader(header(name, h.Size)); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if _, err := io.CopyN(io.MultiWriter(to, out), a, h.Size); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	return nil
}
