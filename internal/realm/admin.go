package realm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	// MaxHosts is how many hosts a realm has at most.
	MaxHosts = 16
	maxHost  = 255
)

// get reads a realm's row. It returns NotFound.
func get(tx interface {
	Realm(id mfa.RealmID) (store.Realm, error)
}, name mfa.RealmID,
) (store.Realm, error) {
	r, err := tx.Realm(name)
	if errors.Is(err, store.ErrNotFound) {
		return store.Realm{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.Realm{}, fmt.Errorf("read realm %s: %w", name, err)
	}
	return r, nil
}

// Disable says whether a realm is disabled from now on; changed says whether it was otherwise
// before. Its live challenges are the caller's to cancel. It returns NotFound, and Conflict for the
// default realm, whose keys administer all others.
func (s *Service) Disable(tx Tx, name mfa.RealmID, off bool) (changed bool, err error) {
	r, err := get(tx, name)
	if err != nil {
		return false, err
	}
	if name == mfa.DefaultRealm {
		return false, mfa.Errorf(mfa.Conflict, "", "The default realm cannot be disabled.")
	}
	if (r.DisabledAt != 0) == off {
		return false, nil
	}
	r.DisabledAt = 0
	if off {
		r.DisabledAt = tx.Now()
	}
	if err := tx.PutRealm(r); err != nil {
		return false, fmt.Errorf("change realm %s: %w", name, err)
	}
	tx.Wake(store.WakeRealm(name))
	return true, nil
}

// SetHosts says which hosts belong to a realm: on them nothing of another realm is served. The
// issuer stays what it was. It returns NotFound, Invalid for what is no host, and Conflict with
// ReasonNameTaken for one that is another realm's or the server's own.
func (s *Service) SetHosts(tx Tx, name mfa.RealmID, hosts []string) error {
	r, err := get(tx, name)
	if err != nil {
		return err
	}
	if err := s.checkHosts(name, hosts); err != nil {
		return err
	}
	all, err := tx.ListRealms()
	if err != nil {
		return fmt.Errorf("list realms: %w", err)
	}
	for _, other := range all {
		for _, h := range hosts {
			if other.ID != name && slices.Contains(other.Hosts, h) {
				return errHostTaken(h)
			}
		}
	}
	r.Hosts = slices.Clone(hosts)
	slices.Sort(r.Hosts)
	if err := tx.PutRealm(r); err != nil {
		return fmt.Errorf("change realm %s: %w", name, err)
	}
	tx.Wake(store.WakeRealm(name))
	return nil
}

func errHostTaken(host string) error {
	return &mfa.Error{
		Code: mfa.Conflict, Reason: mfa.ReasonNameTaken, Field: "hosts",
		Message: fmt.Sprintf("The host %s belongs to another realm, or to the server.", host),
	}
}

// hostForm is a host as browsers send it, with a port unless it is the usual one.
var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?$`)

func (s *Service) checkHosts(name mfa.RealmID, hosts []string) error {
	if len(hosts) > MaxHosts {
		return mfa.InvalidField("hosts", "A realm has at most %d hosts.", MaxHosts)
	}
	own := []string{hostOf(s.c.PublicURL), hostOf(*s.base.Load())}
	for _, address := range s.c.Others {
		own = append(own, hostOf(address))
	}
	for i, h := range hosts {
		if len(h) > maxHost || !hostForm.MatchString(h) || plainHost(h) != h || slices.Contains(hosts[:i], h) {
			return mfa.InvalidField("hosts", "A host is written as browsers do: in lower case, with its port unless that is the usual one, each once.")
		}
		if name != mfa.DefaultRealm && slices.Contains(own, h) {
			return errHostTaken(h)
		}
	}
	return nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return plainHost(u.Host)
}

// plainHost gives a host as it is compared: what a client may write otherwise is taken away.
func plainHost(h string) string {
	h = strings.ToLower(h)
	for _, usual := range []string{":443", ":80"} {
		h = strings.TrimSuffix(h, usual)
	}
	name, port, found := strings.Cut(h, ":")
	name = strings.TrimSuffix(name, ".")
	if found {
		return name + ":" + port
	}
	return name
}

// ReadHosts reads which hosts belong to which realm. Every node does so now and then.
func (s *Service) ReadHosts(ctx context.Context) error {
	hosts := make(map[string]mfa.RealmID)
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		clear(hosts)
		all, err := tx.ListRealms()
		if err != nil {
			return fmt.Errorf("list realms: %w", err)
		}
		for _, r := range all {
			for _, h := range r.Hosts {
				hosts[h] = r.ID
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read hosts of realms: %w", err)
	}
	s.hosts.Store(&hosts)
	return nil
}

// At gives the realm to which a host belongs, as a request names it; "" if that is none's.
func (s *Service) At(host string) mfa.RealmID {
	hosts := *s.hosts.Load()
	if len(hosts) == 0 {
		return ""
	}
	return hosts[plainHost(host)]
}

// URLs gives the addresses of all hosts that belong to realms.
func (s *Service) URLs() []string {
	hosts := *s.hosts.Load()
	if len(hosts) == 0 {
		return nil
	}
	out := make([]string, 0, len(hosts))
	for h := range hosts {
		out = append(out, s.url(h))
	}
	return out
}

// URL gives the address of a host that belongs to a realm, as a request names it.
func (s *Service) URL(host string) string { return s.url(plainHost(host)) }

func (s *Service) url(host string) string {
	scheme, _, _ := strings.Cut(s.c.PublicURL, "://")
	return scheme + "://" + host
}

// Serves tells whether what is a realm's may be used at a host: at its own ones, and at those that
// are no other realm's.
func (s *Service) Serves(host string, realm mfa.RealmID) bool {
	at := s.At(host)
	return at == "" || at == realm
}

// Address gives the address of a realm's first host, or fallback if it has none.
func (s *Service) Address(tx interface {
	Realm(id mfa.RealmID) (store.Realm, error)
}, name mfa.RealmID, fallback string,
) (string, error) {
	if len(*s.hosts.Load()) == 0 {
		return fallback, nil
	}
	r, err := get(tx, name)
	if err != nil || len(r.Hosts) == 0 {
		return fallback, err
	}
	return s.url(r.Hosts[0]), nil
}

// Enabled says whether there is such a realm and it is enabled.
func (s *Service) Enabled(ctx context.Context, name mfa.RealmID) (bool, error) {
	on := false
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		r, err := get(tx, name)
		on = err == nil && r.DisabledAt == 0
		return err
	})
	if mfa.CodeOf(err) == mfa.NotFound {
		return false, nil
	}
	return on, err
}

// Key is what may be known of a signing key.
type Key struct {
	Purpose   string // prompt or grant
	KID       string
	State     KeyState
	CreatedAt mfa.Instant
	ActiveAt  mfa.Instant // 0 for one that is next
	RetiredAt mfa.Instant // 0 while no successor is named
}

// KeyState is what a signing key is doing.
type KeyState string

// The states of signing keys.
const (
	KeyNext      KeyState = "next"      // waits; devices or applications know it already
	KeySigns     KeyState = "signs"     // signs now
	KeyRetired   KeyState = "retired"   // signs no more and is still published
	KeyWithdrawn KeyState = "withdrawn" // is not published any more
)

func keyState(k store.Key, now mfa.Instant) KeyState {
	switch {
	case k.ActiveAt == waiting || now < k.ActiveAt:
		return KeyNext
	case k.RetiredAt == 0 || now < k.RetiredAt:
		return KeySigns
	case k.Purpose == grantKeys && now < k.RetiredAt.Add(Published):
		return KeyRetired
	case k.Purpose == promptKeys:
		return KeyRetired // in the key sets, for ever
	}
	return KeyWithdrawn
}

// Keys lists a realm's signing keys, by purpose, in the order in which they sign. It returns NotFound for an unknown realm.
func (s *Service) Keys(ctx context.Context, realm mfa.RealmID) ([]Key, error) {
	var out []Key
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		out = nil
		for _, purpose := range []string{promptKeys, grantKeys} {
			all, err := tx.Keys(realm, purpose)
			if err != nil {
				return fmt.Errorf("list %s keys of %s: %w", purpose, realm, err)
			}
			slices.SortStableFunc(all, func(a, b store.Key) int { // those that wait are the last
				return cmp.Compare(uint64(a.ActiveAt-1), uint64(b.ActiveAt-1)) //nolint:gosec // 0 becomes the greatest
			})
			for _, k := range all {
				out = append(out, Key{
					Purpose: k.Purpose, KID: k.KID, State: keyState(k, tx.Now()), CreatedAt: k.CreatedAt,
					ActiveAt: k.ActiveAt, RetiredAt: k.RetiredAt,
				})
			}
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = mfa.ErrNotFound()
	}
	return out, err
}
