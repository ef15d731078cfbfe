// Package storetest says what every implementation of package store must do, as tests that the
// implementation runs on itself.
package storetest

import (
	"crypto/rand"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Opened is a store under test, empty at first.
type Opened struct {
	Store store.Store
	// Other is another handle on the same database, as a second node has it, or Store itself where
	// there can be one only.
	Other store.Store
	// Woken returns the keys that either handle has woken so far, in order.
	Woken func() []string
	// Advance moves the clock of both handles.
	Advance func(time.Duration)
}

// Run runs every test on stores that open gives. open closes what it has opened when its t ends.
func Run(t *testing.T, open func(t *testing.T) Opened) {
	t.Run("rows", func(t *testing.T) {
		t.Parallel()
		o := open(t)
		for _, test := range []struct {
			name string
			run  func(t *testing.T, s store.Store)
		}{
			{"realms", realms},
			{"policies", policies},
			{"users", users},
			{"user names", userNames},
			{"listing users", listUsers},
			{"applications", applications},
			{"API keys", apiKeys},
			{"devices", devices},
			{"enrolments", enrolments},
			{"invitations", invitations},
			{"challenges", challenges},
			{"live challenges", liveChallenges},
			{"listing challenges", listChallenges},
			{"stamps", stamps},
			{"guesses", guesses},
			{"waits and sources", waits},
			{"browsers", browsers},
			{"proofs", proofs},
			{"TOTP", totps},
			{"backup codes", backupCodes},
			{"bypass codes", bypassCodes},
			{"deleting a user", deleteUser},
			{"notices", notices},
			{"events", events},
			{"replays", replays},
			{"deliveries", deliveries},
			{"attempts", attempts},
			{"listing deliveries", listDeliveries},
			{"webhooks", webhooks},
			{"certificates", certificates},
			{"certificate orders", certificateOrders},
			{"text", text},
			{"realms apart", isolation},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(t, o.Store)
			})
		}
	})
	for _, test := range []struct {
		name string
		run  func(t *testing.T, o Opened)
	}{
		{"sweeps", sweeps},
		{"due", due},
		{"ended rows", endedRows},
		{"feeds", feeds},
		{"events of all realms", eventsBefore},
		{"horizon", horizon},
		{"due deliveries", dueDeliveries},
		{"sweeping deliveries", sweepDeliveries},
		{"transactions", transactions},
		{"wakes", wakes},
		{"clock", clock},
		{"sealed values", sealedValues},
		{"ring nodes", ringNodes},
		{"stale", stale},
		{"joined", joined},
		{"contexts", contexts},
		{"closed", closed},
		{"redeem race", redeemRace},
		{"decide race", decideRace},
		{"consume race", consumeRace},
		{"invitation race", invitationRace},
		{"count race", countRace},
		{"name race", nameRace},
		{"delivery race", deliveryRace},
		{"fresh rows", fresh},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

// id makes an identifier that nothing else has.
func id[S ~string](prefix string) S { return S(prefix + strings.ToLower(rand.Text())) }

func newRealm() mfa.RealmID { return id[mfa.RealmID]("realm-") }

// update runs fn and ends the test if it comes to nothing.
func update(t *testing.T, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// view likewise.
func view(t *testing.T, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// read returns what one read gives.
func read[T any](t *testing.T, s store.Store, fn func(store.Tx) (T, error)) T {
	t.Helper()
	var v T
	view(t, s, func(tx store.Tx) (err error) {
		v, err = fn(tx)
		return err
	})
	return v
}

// want ends the test unless an Update with fn gives the error.
func want(t *testing.T, s store.Store, target error, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); !errors.Is(err, target) {
		t.Fatalf("Update: got %v, want %v", err, target)
	}
}

// missing ends the test unless a View with fn finds nothing.
func missing[T any](t *testing.T, s store.Store, fn func(store.Tx) (T, error)) {
	t.Helper()
	err := s.View(t.Context(), func(tx store.Tx) error {
		_, err := fn(tx)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("View: got %v, want ErrNotFound", err)
	}
}

// equal compares, and takes an empty list for none.
func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// fill gives every field a value that is not its zero value, so that a field that is not kept is
// missed. Words with a closed set of values get one of these.
func fill[T any](v *T) { fillValue(reflect.ValueOf(v).Elem(), "") }

var closedSets = map[string][]string{
	"mfa.State":             {"approved"},
	"mfa.CancelReason":      {"policy"},
	"mfa.Kind":              {"step_up"},
	"mfa.Match":             {"digits_back"},
	"mfa.Method":            {"bypass_code"},
	"mfa.FirstFactor":       {"asserted"},
	"mfa.ProvenanceClass":   {"source"},
	"mfa.RingReason":        {"slot_taken"},
	"mfa.DeviceState":       {"suspended"},
	"mfa.EnrolmentState":    {"claimed"},
	"mfa.InvitationState":   {"revoked"},
	"mfa.InvitationPurpose": {"reset"},
	"mfa.Actor":             {"help_desk"},
	"store.UserState":       {"locked"},
	"store.FactorState":     {"active"},
	"UsernameForm":          {"strip_domain"},
	"Algorithm":             {"SHA512"},
	"Purpose":               {"grant"},
	"store.DeliveryState":   {"dead"},
	"Outcome":               {"temporary"},
	"DisabledWhy":           {"administrator"},
}

func fillValue(v reflect.Value, field string) {
	if field == "RealmDisabledAt" {
		return // of another row
	}
	switch v.Kind() {
	case reflect.String:
		set := closedSets[v.Type().String()]
		if set == nil {
			set = closedSets[field]
		}
		if set == nil {
			set = []string{"tëxt " + rand.Text()}
		}
		v.SetString(set[0])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + int64(rand.Text()[0]))
	case reflect.Uint8: // a set of matches or methods
		v.SetUint(5)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(`{"` + rand.Text() + `":"<&ü>"}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillValue(v.Index(i), field)
		}
	case reflect.Array:
		for i := range v.Len() - 1 {
			fillValue(v.Index(i), field)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"a": "<1>", "b": rand.Text()}))
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i), v.Type().Field(i).Name)
		}
	default:
		panic("storetest: no value for a " + v.Type().String())
	}
}

// addUser inserts a user with a name of its own.
func addUser(t *testing.T, s store.Store, realm mfa.RealmID) store.User {
	t.Helper()
	var u store.User
	fill(&u)
	u.Realm, u.ID, u.Name, u.Version = realm, id[mfa.UserID]("usr_"), id[string]("name-"), 1
	update(t, s, func(tx store.Tx) error { return tx.InsertUser(u, nil) })
	return u
}

// is fails the test unless got is the error wanted.
func is(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// newestFirst orders by moment and then id, both falling.
func newestFirst(a mfa.Instant, aID string, b mfa.Instant, bID string) int {
	if a != b {
		return int(b - a)
	}
	return strings.Compare(bID, aID)
}
