package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
)

// MaxImported is how many people are imported at once.
const MaxImported = 100

// Person is somebody as a directory has them. A nil member is not said, and stays as it is.
type Person struct {
	Name       string
	ExternalID string // "" if not said
	Display    *string
	Aliases    *[]string
	Groups     *[]string
}

// Import outcomes.
const (
	ImportCreated   = "created"
	ImportChanged   = "changed"
	ImportUnchanged = "unchanged"
	ImportRefused   = "refused"
)

// MemberChange is one member that an import changes. Lists are sorted.
type MemberChange struct {
	Member        string
	Before, After []string
}

// Imported is what an import did, or would do, with a person.
type Imported struct {
	Name    string // canonical, once it is known
	User    mfa.UserID
	Outcome string
	Changes []MemberChange
	Refused error // why, for ImportRefused
}

// errTried undoes the transaction of an import that was only tried.
var errTried = errors.New("only tried")

// Import makes the people of a directory, at most MaxImported at once, and changes what is different
// about those who are there: found by external id, else by name. Who is not named stays as they are.
// With try nothing is written, and the answer is what would be. One who is refused keeps nobody else
// from being imported. It returns Invalid for too many.
func (s *Service) Import(ctx context.Context, in mfa.RealmID, people []Person, try bool) ([]Imported, error) {
	if len(people) == 0 || len(people) > MaxImported {
		return nil, mfa.InvalidField("people", "1 to %d people are imported at once.", MaxImported)
	}
	var out []Imported
	err := s.update(ctx, in, func(j *job) error {
		out = make([]Imported, len(people))
		named := make(map[mfa.UserID]bool, len(people))
		for i, p := range people {
			done, err := j.importOne(p, named)
			if err != nil {
				if code := mfa.CodeOf(err); code != mfa.Invalid && code != mfa.Conflict {
					return err
				}
				done = Imported{Name: p.Name, Outcome: ImportRefused, Refused: err}
			}
			out[i] = done
		}
		if try {
			return errTried
		}
		return replay.Made(ctx, j.tx, out)
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	return out, err
}

// importOne does what Import does for one person, unless they were named before: two people with one
// external id would become one, and whoever is second would sign in as the first.
func (j *job) importOne(p Person, named map[mfa.UserID]bool) (Imported, error) {
	canonical, err := user.Canonical("name", p.Name)
	if err != nil {
		return Imported{}, err
	}
	u, found, err := j.directory(p.ExternalID, canonical)
	if err != nil {
		return Imported{}, err
	}
	if found && named[u.ID] {
		return Imported{}, mfa.Errorf(mfa.Conflict, mfa.ReasonNameTaken, "This import names %s twice.", u.Name)
	}
	if found {
		named[u.ID] = true
	}
	c := user.Changes{Display: p.Display, Groups: p.Groups, Aliases: p.Aliases}
	if p.ExternalID != "" {
		c.ExternalID = &p.ExternalID
	}
	if !found {
		u, err = user.Create(j.tx, j.realm, p.Name, c)
		if err != nil {
			return Imported{}, err
		}
		named[u.ID] = true
		e := store.Event{Kind: audit.UserCreated, User: u.ID, Data: map[string]string{"name": u.Name}}
		return Imported{Name: u.Name, User: u.ID, Outcome: ImportCreated}, j.record(e)
	}
	return j.importChange(u, canonical, p, c)
}

// directory finds the person whom a directory means. A name whose person has another external id
// was given to somebody else meanwhile; that is never the same person.
func (j *job) directory(external, canonical string) (u store.User, found bool, err error) {
	if external != "" {
		u, err = j.tx.UserByExternalID(j.realm, external)
		if err == nil {
			return u, true, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return u, false, fmt.Errorf("find user by external id: %w", err)
		}
	}
	u, err = j.tx.UserByName(j.realm, canonical)
	if errors.Is(err, store.ErrNotFound) {
		return u, false, nil
	}
	if err != nil {
		return u, false, fmt.Errorf("find user by name: %w", err)
	}
	taken := &mfa.Error{Code: mfa.Conflict, Reason: mfa.ReasonNameTaken, Field: "name"}
	switch {
	case u.Name != canonical:
		taken.Message = fmt.Sprintf("The name is an alias of %s.", u.Name)
	case external != "" && u.ExternalID != "":
		taken.Message = "The name belongs to somebody with another external id."
	default:
		return u, true, nil
	}
	return u, false, taken
}

func (j *job) importChange(u store.User, canonical string, p Person, c user.Changes) (Imported, error) {
	out := Imported{Name: u.Name, User: u.ID, Outcome: ImportUnchanged}
	names, err := j.tx.UserNames(j.realm, u.ID)
	if err != nil {
		return out, fmt.Errorf("read names of %s: %w", u.ID, err)
	}
	if c.Aliases, err = aliasesOf(u, names, canonical, p); err != nil {
		return out, err
	}
	differ := func(member string, before, after []string) bool {
		if slices.Equal(before, after) {
			return false
		}
		out.Changes = append(out.Changes, MemberChange{Member: member, Before: before, After: after})
		return true
	}
	if c.Display != nil && !differ("display_name", []string{u.Display}, []string{*c.Display}) {
		c.Display = nil
	}
	if c.ExternalID != nil && !differ("external_id", some(u.ExternalID), []string{*c.ExternalID}) {
		c.ExternalID = nil
	}
	if c.Groups != nil && !differ("groups", u.Groups, slices.Compact(slices.Sorted(slices.Values(*c.Groups)))) {
		c.Groups = nil
	}
	if c.Aliases != nil {
		var before, after []string
		for _, n := range names {
			if n.Alias {
				before = append(before, n.Name)
			}
		}
		for _, a := range *c.Aliases {
			name, err := user.Canonical("aliases", a)
			if err != nil {
				return out, err
			}
			after = append(after, name)
		}
		slices.Sort(before)
		slices.Sort(after)
		if !differ("aliases", before, after) {
			c.Aliases = nil
		}
	}
	if len(out.Changes) == 0 {
		return out, nil
	}
	if _, err := user.Update(j.tx, j.realm, u.ID, c); err != nil {
		return out, err
	}
	out.Outcome = ImportChanged
	members := make([]string, len(out.Changes))
	for i, m := range out.Changes {
		members[i] = m.Member
	}
	return out, j.record(store.Event{Kind: audit.UserChanged, User: u.ID, Data: map[string]string{"members": strings.Join(members, " ")}})
}

// aliasesOf gives the aliases that the person is to have, nil for those they have. Names never
// change: one by which the directory calls the person now becomes an alias of the one they have.
func aliasesOf(u store.User, names []store.UserName, canonical string, p Person) (*[]string, error) {
	if p.Aliases == nil && canonical == u.Name {
		return nil, nil //nolint:nilnil // not said
	}
	var want []string
	if p.Aliases == nil {
		for _, n := range names {
			if n.Alias {
				want = append(want, n.Display)
			}
		}
	} else {
		for _, a := range *p.Aliases {
			c, err := user.Canonical("aliases", a)
			if err != nil {
				return nil, err
			}
			if c != u.Name {
				want = append(want, a)
			}
		}
	}
	if canonical == u.Name {
		return &want, nil
	}
	for _, a := range want {
		if c, err := user.Canonical("aliases", a); err == nil && c == canonical {
			return &want, nil
		}
	}
	want = append(want, p.Name)
	return &want, nil
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
