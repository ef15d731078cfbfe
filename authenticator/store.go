package authenticator

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/nodauth/nod/protocol"
)

// AccountID names an account: one device in one realm of one issuer.
type AccountID struct {
	Issuer string
	Realm  string
	Device string
}

func (id AccountID) label() string { return id.Issuer + "|" + id.Realm + "|" + id.Device }

// String is the id for people and logs.
func (id AccountID) String() string { return id.Device + " of " + id.Issuer + " (" + id.Realm + ")" }

// Account is what the store knows of an account, without its key.
type Account struct {
	ID         AccountID
	User       protocol.User
	Name       string               // of the device
	DeviceURL  string               // public URL to which messages go
	State      protocol.DeviceState // as last heard
	KeysSerial int64                // of the pinned key set
	EnrolledAt time.Time            // by this machine's clock
}

// record is an account in the file.
type record struct {
	Issuer     string   `json:"issuer"`
	Realm      string   `json:"realm"`
	Device     string   `json:"device"`
	UserID     string   `json:"user_id"`
	UserName   string   `json:"user_name"`
	Name       string   `json:"name"`
	DeviceURL  string   `json:"device_url"`
	State      string   `json:"state"`
	Keys       string   `json:"keys"`              // the pinned nod-keys+jws
	Key        []byte   `json:"key"`               // sealed
	NewKey     []byte   `json:"new_key,omitempty"` // sealed, of a rotation whose end is not known
	Seq        int64    `json:"seq"`               // last one used
	Seen       []string `json:"seen,omitempty"`    // notices
	EnrolledAt int64    `json:"enrolled_at"`       // milliseconds since 1970 UTC
}

func (r *record) id() AccountID { return AccountID{r.Issuer, r.Realm, r.Device} }

func (r *record) account() (Account, error) {
	set, err := protocol.ParseKeySet(r.Keys)
	if err != nil {
		return Account{}, fmt.Errorf("read the pinned keys of %s: %w", r.id(), err)
	}
	return Account{
		ID: r.id(), User: protocol.User{ID: r.UserID, Name: r.UserName}, Name: r.Name, DeviceURL: r.DeviceURL,
		State: protocol.DeviceState(r.State), KeysSerial: set.Serial, EnrolledAt: time.UnixMilli(r.EnrolledAt).UTC(),
	}, nil
}

type document struct {
	V        int      `json:"v"`
	Keyring  string   `json:"keyring"`
	Accounts []record `json:"accounts"`
}

const documentVersion = 1

// Store keeps accounts in one file, or in memory. It is safe for concurrent use, by several
// processes too where the system can lock files.
type Store struct {
	path string // "" in memory
	ring Keyring

	mu  sync.Mutex
	mem []byte
}

// NewMemory gives a store that is lost with the process.
func NewMemory() *Store { return &Store{ring: Plain()} }

// OpenFile gives the store in a file, which need not exist yet. It is written only by this user
// and readable for no other; a file that others may read is refused. The keyring seals the
// keys. The folder must exist.
func OpenFile(path string, ring Keyring) (*Store, error) {
	s := &Store{path: path, ring: ring}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("open the accounts: %w", err)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("open the accounts: %s may be read by others; run chmod 600 on it", path)
	}
	_, err = s.read()
	return s, err
}

func (s *Store) read() (document, error) {
	doc := document{V: documentVersion, Keyring: s.ring.Kind()}
	data := s.mem
	if s.path != "" {
		var err error
		data, err = os.ReadFile(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return doc, nil
		}
		if err != nil {
			return doc, fmt.Errorf("read the accounts: %w", err)
		}
	}
	if len(data) == 0 && s.path == "" {
		return doc, nil
	}
	return decodeDocument(data, s.ring.Kind(), s.path)
}

func decodeDocument(data []byte, kind, path string) (document, error) {
	var doc document
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return document{}, fmt.Errorf("read the accounts: %s is damaged: %w", path, err)
	}
	if doc.V != documentVersion {
		return document{}, fmt.Errorf("read the accounts: %s is of version %d, this program knows %d", path, doc.V, documentVersion)
	}
	if doc.Keyring != kind {
		return document{}, fmt.Errorf("read the accounts: %s is sealed by %q, not %q: %w", path, doc.Keyring, kind, errRing)
	}
	return doc, nil
}

// update changes the document under the lock and makes the change durable before it returns.
func (s *Store) update(ctx context.Context, fn func(*document) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" {
		unlock, err := lockFile(ctx, s.path+".lock")
		if err != nil {
			return fmt.Errorf("lock the accounts: %w", err)
		}
		defer unlock()
	}
	doc, err := s.read()
	if err != nil {
		return err
	}
	if err := fn(&doc); err != nil {
		return err
	}
	data, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return fmt.Errorf("write the accounts: %w", err)
	}
	if s.path == "" {
		s.mem = data
		return nil
	}
	if err := writeFile(s.path, data); err != nil {
		return fmt.Errorf("write the accounts: %w", err)
	}
	return nil
}

// writeFile replaces the file as a whole: after a crash there is the old one or the new one.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error counts
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// get gives a copy of one record, or ErrNoAccount.
func (s *Store) get(id AccountID) (record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc, err := s.read()
	if err != nil {
		return record{}, err
	}
	if i := index(&doc, id); i >= 0 {
		return doc.Accounts[i], nil
	}
	return record{}, fmt.Errorf("%s: %w", id, ErrNoAccount)
}

func index(doc *document, id AccountID) int {
	return slices.IndexFunc(doc.Accounts, func(r record) bool { return r.id() == id })
}

// change edits one record durably; it returns ErrNoAccount if there is none.
func (s *Store) change(ctx context.Context, id AccountID, fn func(*record) error) error {
	return s.update(ctx, func(doc *document) error {
		i := index(doc, id)
		if i < 0 {
			return fmt.Errorf("%s: %w", id, ErrNoAccount)
		}
		return fn(&doc.Accounts[i])
	})
}

func (s *Store) accounts() ([]Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc, err := s.read()
	if err != nil {
		return nil, err
	}
	out := make([]Account, 0, len(doc.Accounts))
	for i := range doc.Accounts {
		a, err := doc.Accounts[i].account()
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func (s *Store) seal(id AccountID, key *ecdsa.PrivateKey) ([]byte, error) {
	secret, err := key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("seal a key: %w", err)
	}
	return s.ring.Seal(id.label(), secret)
}

func (s *Store) open(id AccountID, sealed []byte) (*ecdsa.PrivateKey, error) {
	secret, err := s.ring.Open(id.label(), sealed)
	if err != nil {
		return nil, fmt.Errorf("open the key of %s: %w", id, err)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	if err != nil {
		return nil, fmt.Errorf("open the key of %s: %w", id, ErrPassphrase)
	}
	return key, nil
}
