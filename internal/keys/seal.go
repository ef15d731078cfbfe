package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// prefixed is the first byte of everything that Tink seals with a key that has an id; four bytes of
// the id follow.
const prefixed = 1

// sealing is the keys that seal and open. It never changes: a Ring takes another one.
type sealing struct {
	ids     []string // oldest first
	sealers map[string]tink.AEAD
	opener  tink.AEAD // with any of the keys
	use     string    // the id of the key that seals; "" while none may
	derived []byte    // tells the deriving keys of one document from another's
}

func (s *sealing) with(id string) *sealing {
	next := *s
	next.use = id
	return &next
}

func idOf(key uint32) string { return fmt.Sprintf("%08x", key) }

func newSealing(h *keyset.Handle) (*sealing, error) {
	s := &sealing{sealers: make(map[string]tink.AEAD)}
	var err error
	if s.opener, err = aead.New(h); err != nil {
		return nil, err
	}
	for i := range h.Len() {
		e, err := h.Entry(i)
		if err != nil {
			return nil, err
		}
		m := keyset.NewManagerFromHandle(h)
		if err := m.SetPrimary(e.KeyID()); err != nil {
			return nil, err
		}
		alone, err := m.Handle()
		if err != nil {
			return nil, err
		}
		id := idOf(e.KeyID())
		if s.sealers[id], err = aead.New(alone); err != nil {
			return nil, err
		}
		s.ids = append(s.ids, id)
		if e.IsPrimary() {
			s.use = id
		}
	}
	return s, nil
}

// SealKeys gives the ids of the sealing keys that the ring holds, oldest first.
func (r *Ring) SealKeys() []string { return slices.Clone(r.sealing.Load().ids) }

// SealKey gives the id of the key that seals, "" after StopSealing.
func (r *Ring) SealKey() string { return r.sealing.Load().use }

// ErrNoSealKey is returned for a sealing key that the ring does not hold.
var ErrNoSealKey = errors.New("the sealing key document lacks this key")

// UseSealKey makes one of the ring's keys seal from now on; all of them go on opening. It returns
// [ErrNoSealKey].
func (r *Ring) UseSealKey(id string) error {
	r.swap.Lock()
	defer r.swap.Unlock()
	s := r.sealing.Load()
	if s.sealers[id] == nil {
		return fmt.Errorf("sealing key %s: %w", id, ErrNoSealKey)
	}
	r.sealing.Store(s.with(id))
	return nil
}

// StopSealing has Seal return [ErrNoSealKey] until UseSealKey names a key that is there: what seals
// the database is another key, and what an older one sealed now nobody would seal again.
func (r *Ring) StopSealing() {
	r.swap.Lock()
	defer r.swap.Unlock()
	r.sealing.Store(r.sealing.Load().with(""))
}

// SealedBy gives the id of the key that sealed a value, "" for what no key with an id has sealed.
func SealedBy(sealed []byte) string {
	if len(sealed) < 5 || sealed[0] != prefixed {
		return ""
	}
	return idOf(binary.BigEndian.Uint32(sealed[1:5]))
}

// Reload reads the file of the root again and takes the sealing keys in it. It changes nothing and
// returns an error for a document that lacks the key that seals now, or that derives with other
// keys: that is another installation's. For a ring whose root is not in a file it does nothing.
func (r *Ring) Reload() (changed bool, err error) {
	if r.file == "" {
		return false, nil
	}
	root, err := readRoot(r.file, false)
	if err != nil {
		return false, fmt.Errorf("read sealing keys again: %w", err)
	}
	s, _, err := parseRoot(root)
	if err != nil {
		return false, fmt.Errorf("read sealing keys again: %w", err)
	}
	r.swap.Lock()
	defer r.swap.Unlock()
	now := r.sealing.Load()
	if !bytes.Equal(s.derived, now.derived) {
		return false, errors.New("read sealing keys again: the document is another installation's")
	}
	if now.use != "" && s.sealers[now.use] == nil {
		return false, fmt.Errorf("read sealing keys again: %w: %s, which seals", ErrNoSealKey, now.use)
	}
	if slices.Equal(s.ids, now.ids) {
		return false, nil
	}
	r.sealing.Store(s.with(now.use))
	return true, nil
}

// AddSealKey gives the root document with one more sealing key, and that key's id. Whoever reads
// the document opens with it and goes on sealing with the key that sealed before.
func AddSealKey(root []byte) (next []byte, id string, err error) {
	next, err = editRoot(root, func(m *keyset.Manager, _ *keyset.Handle) error {
		key, err := m.Add(aead.XAES256GCM192BitNonceKeyTemplate())
		id = idOf(key)
		return err
	})
	return next, id, err
}

// KeepSealKey gives the root document with one sealing key only. What another one has sealed can
// be opened by nobody who has no older document. It returns [ErrNoSealKey].
func KeepSealKey(root []byte, id string) ([]byte, error) {
	return editRoot(root, func(m *keyset.Manager, h *keyset.Handle) error {
		keep, err := strconv.ParseUint(id, 16, 32)
		if err != nil {
			return ErrNoSealKey
		}
		if err := m.SetPrimary(uint32(keep)); err != nil {
			return ErrNoSealKey
		}
		for i := range h.Len() {
			e, err := h.Entry(i)
			if err != nil {
				return err
			}
			if e.KeyID() == uint32(keep) {
				continue
			}
			if err := m.Delete(e.KeyID()); err != nil {
				return err
			}
		}
		return nil
	})
}

// editRoot changes the sealing keys of a root document. The deriving keys stay: what they gave is
// in the database, as ids and digests.
func editRoot(root []byte, edit func(*keyset.Manager, *keyset.Handle) error) ([]byte, error) {
	if _, _, err := parseRoot(root); err != nil {
		return nil, err
	}
	var d rootDocument
	if err := json.Unmarshal(root, &d); err != nil {
		return nil, errRoot
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(d.AEAD)))
	if err != nil {
		return nil, errRoot
	}
	m := keyset.NewManagerFromHandle(h)
	if err := edit(m, h); err != nil {
		return nil, fmt.Errorf("change sealing keys: %w", err)
	}
	if d.AEAD, err = newKeyset(m.Handle()); err != nil {
		return nil, fmt.Errorf("write sealing keys: %w", err)
	}
	next, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("write root: %w", err)
	}
	return append(next, '\n'), nil
}

// EditFile puts what edit makes of the root document in a file into its place: wholly and durably,
// or not at all.
func EditFile(path string, edit func(root []byte) ([]byte, error)) error {
	root, err := loadRoot(path)
	if err != nil {
		return err
	}
	next, err := edit(root)
	if err != nil {
		return err
	}
	return replaceRoot(path, next)
}
