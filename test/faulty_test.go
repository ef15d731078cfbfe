package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/nodauth/nod/internal/store"
)

// failure is a way in which a transaction of a request goes wrong.
type failure string

const (
	refused   failure = "the transaction is not begun"
	undone    failure = "the transaction is undone at its end"
	unknown   failure = "the commit is done and not acknowledged"
	gone      failure = "the commit is done, and the node dies"
	panicking failure = "the transaction panics at its end"
	statement failure = "a statement fails"
)

// failures are all of them. After refused and gone the database is away until mended.
var failures = []failure{refused, undone, unknown, gone, panicking, statement}

var errInjected = errors.New("injected fault")

// faulty is a database in which one transaction, or one statement, of a request fails.
type faulty struct {
	store.Store

	mu   sync.Mutex
	how  failure // "" for none
	at   int     // which one, from 1
	seen int
	dead bool // nothing works until mended
	hit  bool // it has happened
}

// arm has the at-th transaction or statement from now on fail.
func (f *faulty) arm(how failure, at int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how, f.at, f.seen, f.dead, f.hit = how, at, 0, false, false
}

// mend ends all that and tells whether it has happened.
func (f *faulty) mend() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how, f.dead = "", false
	return f.hit
}

// due tells whether a failure of this kind falls on what is done now.
func (f *faulty) due(statements bool) (failure, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return refused, true
	}
	if f.how == "" || (f.how == statement) != statements {
		return "", false
	}
	f.seen++
	if f.seen != f.at {
		return "", false
	}
	f.hit = true
	f.dead = f.how == gone || f.how == refused
	return f.how, true
}

// ofRequest says whether a context is of an HTTP request. What runs in the background is left alone.
func ofRequest(ctx context.Context) bool { return ctx.Value(http.ServerContextKey) != nil }

func (f *faulty) View(ctx context.Context, fn func(store.Tx) error) error {
	return f.run(ctx, fn, f.Store.View)
}

func (f *faulty) Update(ctx context.Context, fn func(store.Tx) error) error {
	return f.run(ctx, fn, f.Store.Update)
}

func (f *faulty) run(ctx context.Context, fn func(store.Tx) error, do func(context.Context, func(store.Tx) error) error) error {
	if !ofRequest(ctx) {
		return do(ctx, fn)
	}
	how, now := f.due(false)
	if !now {
		return do(failing{ctx, f}, fn)
	}
	switch how {
	case refused:
		return errInjected
	case undone, panicking:
		return do(ctx, func(tx store.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			if how == panicking {
				panic(errInjected)
			}
			return errInjected
		})
	case unknown, gone:
		if err := do(ctx, fn); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w", store.ErrUnknown, errInjected)
	case statement:
	}
	return do(ctx, fn)
}

// failing is a context that the database asks before each statement.
type failing struct {
	context.Context
	f *faulty
}

func (c failing) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	if how, now := c.f.due(true); now && how == statement {
		return errInjected
	}
	return nil
}
