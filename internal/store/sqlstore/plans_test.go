package sqlstore

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/sealed"
)

// recording remembers statements and answers that they touched as many rows as it is told.
type recording struct {
	touched int64
	texts   []string
	args    [][]any
}

func (r *recording) exec(text string, args []any) (int64, error) {
	r.texts, r.args = append(r.texts, text), append(r.args, args)
	return r.touched, nil
}

func (r *recording) query(text string, args []any, _ func(scan func(...any) error) error) error {
	r.texts, r.args = append(r.texts, text), append(r.args, args)
	return nil
}

// TestPlans calls every method there is and asks the database how it would carry out the
// statements: none reads a whole table, or all rows of a realm.
func TestPlans(t *testing.T) {
	t.Parallel()
	// These read what is small, or all there is because that is what was asked for.
	small := []string{"Realm", "ListRealms", "ListPolicies", "Policy", "Keys", "KeySetsAfter", "ListBrowsers", "PutRealm", "RingNodes", "LiveInRealm", "ListWebhooks", "EnabledWebhooks"}
	everyDatabase(t, func(t *testing.T, c Config) {
		s := mustOpen(t, c)
		methods := reflect.TypeFor[store.Tx]()
		for i := range methods.NumMethod() {
			m := methods.Method(i)
			if m.Name == "Now" || m.Name == "Wake" || m.Name == "NextEvent" || slices.Contains(small, m.Name) {
				continue
			}
			r := &recording{}
			for _, args := range arguments(m) {
				for r.touched = range 2 {
					dry := &transaction{session: r, ctx: t.Context()}
					reflect.ValueOf(dry).MethodByName(m.Name).Call(args)
				}
			}
			if len(r.texts) == 0 {
				t.Errorf("%s runs no statement", m.Name)
			}
			err := s.View(t.Context(), func(tx store.Tx) error {
				for i, text := range r.texts {
					plan, err := explain(tx.(*transaction), c, text, r.args[i])
					if err != nil {
						return err
					}
					if bad := judge(plan); bad != "" {
						t.Errorf("%s: %s\n%s\n%s", m.Name, bad, text, strings.Join(plan, "\n"))
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", m.Name, err)
			}
		}
	})
}

// transaction is tx, whose name the functions given to View use for something else.
type transaction = tx

// arguments gives a method what makes it run all its statements.
func arguments(m reflect.Method) [][]reflect.Value {
	if m.Name == "ListEvents" {
		var all [][]reflect.Value
		for _, f := range []store.EventFilter{
			{},
			{User: "u"},
			{Application: "a"},
			{Device: "d"},
			{Challenge: "c"},
			{Kind: "k"},
			{Kind: "k."},
			{User: "u", Kind: "k.", Since: 1, Until: 2},
			{User: "u", Application: "a"},
			{OldestFirst: true, Application: "a"},
		} {
			f.Realm = "r"
			all = append(all, []reflect.Value{reflect.ValueOf(f), reflect.ValueOf(store.Page{Limit: 5})})
		}
		return all
	}
	if m.Name == "ListDeliveries" {
		var all [][]reflect.Value
		for _, state := range []store.DeliveryState{"", store.DeliveryPending, store.DeliveryDelivered, store.DeliveryDead} {
			f := store.DeliveryFilter{Realm: "r", Kind: "k", Target: "t", State: state}
			all = append(all, []reflect.Value{reflect.ValueOf(f), reflect.ValueOf(store.Page{Limit: 5})})
		}
		return all
	}
	if strings.HasSuffix(m.Name, "SealedValues") || m.Name == "PutSealedValue" {
		return sealedArguments(m)
	}
	var args []reflect.Value
	for i := range m.Type.NumIn() {
		v := reflect.New(m.Type.In(i)).Elem()
		sensible(v)
		args = append(args, v)
	}
	if m.Name == "SetAliases" || m.Name == "ListUsers" {
		args[1].SetZero()
	}
	return [][]reflect.Value{args}
}

// sealedArguments names every column of sealed values.
func sealedArguments(m reflect.Method) [][]reflect.Value {
	var all [][]reflect.Value
	for _, c := range sealed.Columns() {
		v := store.SealedValue{Realm: "r", Key: make([]string, len(c.Key)), Sealed: []byte("b")}
		last := reflect.ValueOf(5)
		if m.Name == "PutSealedValue" {
			last = reflect.ValueOf([]byte("c"))
		}
		all = append(all, []reflect.Value{reflect.ValueOf(c), reflect.ValueOf(v), last})
	}
	return all
}

func sensible(v reflect.Value) {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("b"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		sensible(v.Index(0))
	case reflect.Struct:
		if s, ok := v.Addr().Interface().(*store.Stamp); ok {
			*s = store.Stamp{Realm: "r", Challenge: "c", Stamp: "shown", At: 1}
		}
	case reflect.String:
		v.SetString("x")
	default:
	}
}

func explain(t *tx, c Config, text string, args []any) ([]string, error) {
	var lines []string
	ask := "EXPLAIN QUERY PLAN "
	if c.postgres() {
		ask = "EXPLAIN "
	}
	err := t.session.query(ask+text, args, func(scan func(...any) error) error {
		var line string
		var id, parent, unused int64
		to := []any{&id, &parent, &unused, &line}
		if c.postgres() {
			to = []any{&line}
		}
		err := scan(to...)
		lines = append(lines, line)
		return err
	})
	return lines, err
}

func judge(plan []string) string {
	for _, line := range plan {
		switch {
		case strings.Contains(line, "SCAN CONSTANT ROW"):
		case strings.Contains(line, "SCAN ") && !strings.Contains(line, "SCAN (subquery"), strings.Contains(line, "Seq Scan"):
			return "it reads a whole table"
		case strings.HasSuffix(line, "SEARCH r USING PRIMARY KEY (realm=?)"): // one realm
		case strings.HasSuffix(line, "(realm=?)"):
			return "it reads all rows of a realm"
		case strings.Contains(line, "USE TEMP B-TREE FOR ORDER BY"):
			return "it sorts"
		}
	}
	return ""
}
