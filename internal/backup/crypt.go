package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/nodauth/nod/internal/secret"
)

// Recipients are who can read a backup. Exactly one of its members is set.
type Recipients struct {
	Public     []string     // age recipients: age1…
	Passphrase secret.Value // from which a key is derived
	Plain      bool         // everybody who has the file
}

// Check says what is wrong with the recipients.
func (r Recipients) Check() error {
	_, err := r.parse()
	return err
}

func (r Recipients) parse() ([]age.Recipient, error) {
	given := 0
	for _, is := range []bool{len(r.Public) > 0, !r.Passphrase.IsZero(), r.Plain} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("a backup is encrypted to recipients or with a passphrase; say which, one of the two")
	}
	if r.Plain {
		return nil, nil
	}
	if !r.Passphrase.IsZero() {
		s, err := age.NewScryptRecipient(r.Passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		return []age.Recipient{s}, nil
	}
	var out []age.Recipient
	for _, p := range r.Public {
		list, err := age.ParseRecipients(strings.NewReader(p))
		if err != nil {
			return nil, fmt.Errorf("%q is no recipient of age, such as age1…: %w", p, err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// Encrypt gives a writer whose content the recipients can read. It is whole once it is closed.
func Encrypt(w io.Writer, r Recipients) (io.WriteCloser, error) {
	list, err := r.parse()
	if err != nil {
		return nil, err
	}
	if r.Plain {
		return open{w}, nil
	}
	return age.Encrypt(w, list...)
}

type open struct{ io.Writer }

// Close does nothing: there is nothing to complete.
func (open) Close() error { return nil }

// Identity is what opens a backup. At most one of its members is set.
type Identity struct {
	File       []byte // content of an age identity file
	Passphrase secret.Value
}

// IsZero tells whether nothing is given.
func (i Identity) IsZero() bool { return len(i.File) == 0 && i.Passphrase.IsZero() }

// ErrIdentity is returned by Decrypt when the backup is for somebody else.
var ErrIdentity = errors.New("this identity or passphrase does not open the backup")

// Decrypt gives the archive in a file. encrypted says whether it was encrypted: what was not proves
// nothing about who made it.
func Decrypt(r io.Reader, i Identity) (archive io.Reader, encrypted bool, err error) {
	in := bufio.NewReader(r)
	const intro = "age-encryption.org/"
	begins, err := in.Peek(len(intro))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("read backup: %w", err)
	}
	armored := bytes.HasPrefix(begins, []byte(armor.Header[:len(intro)]))
	if !armored && string(begins) != intro {
		return in, false, nil
	}
	ids, err := i.parse()
	if err != nil {
		return nil, true, err
	}
	var sealed io.Reader = in
	if armored {
		sealed = armor.NewReader(in)
	}
	archive, err = age.Decrypt(sealed, ids...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, true, ErrIdentity
	}
	if err != nil {
		return nil, true, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return archive, true, nil
}

func (i Identity) parse() ([]age.Identity, error) {
	if i.IsZero() {
		return nil, errors.New("the backup is encrypted: name the identity or the passphrase that opens it")
	}
	if !i.Passphrase.IsZero() {
		s, err := age.NewScryptIdentity(i.Passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		return []age.Identity{s}, nil
	}
	ids, err := age.ParseIdentities(bytes.NewReader(i.File))
	if err != nil {
		return nil, errors.New("the identity file holds no identity of age, such as age-keygen makes") // the cause may quote it
	}
	return ids, nil
}
