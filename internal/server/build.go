package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/feed"
	devicefront "github.com/nodauth/nod/internal/front/device"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/front/login"
	"github.com/nodauth/nod/internal/front/rest"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/user"
)

// housekeepingEvery is how often old rows are swept.
const housekeepingEvery = time.Minute

// parts are the services that fronts speak to.
type parts struct {
	pipeline     *authn.Service
	accounts     *account.Service
	applications *application.Service
	realms       *realm.Service
	events       *audit.Service
	policies     *policy.Service
	replays      *replay.Service
	factors      *factor.Service
	webhooks     *endpoint.Service
	deliveries   *deliver.Worker
	feeds        *feed.Service // nil if events are sent nowhere
}

// build makes the services, the default realm and the first administration key.
func (s *Server) build(ctx context.Context, ring *keys.Ring) (p parts, err error) {
	var errs []error
	keep := func(err error) { errs = append(errs, err) }
	var challenges *challenge.Service
	var devices *device.Service
	var users *user.Service
	challenges, err = challenge.New(challenge.Config{Ring: ring})
	keep(err)
	devices, err = device.New(device.Config{Ring: ring})
	keep(err)
	p.factors, err = factor.New(factor.Config{Ring: ring, HashSlots: s.c.Limits.HashSlots})
	keep(err)
	users, err = user.New(user.Config{Ring: ring})
	keep(err)
	p.policies, err = policy.New(policy.Config{Store: s.store})
	keep(err)
	p.applications, err = application.New(application.Config{Store: s.store})
	keep(err)
	p.realms, err = realm.New(realm.Config{Store: s.store, Ring: ring, PublicURL: s.urls[0], Others: s.urls[1:]})
	keep(err)
	p.events, err = audit.New(audit.Config{Store: s.store})
	keep(err)
	p.feeds, err = s.feeds()
	keep(err)
	p.replays, err = replay.New(replay.Config{
		Store: s.store, Ring: ring, Logger: s.log,
		Listen: func(keys ...string) replay.Waiter { return s.hub.Register(keys...) },
	})
	keep(err)
	if err := errors.Join(errs...); err != nil {
		return parts{}, err
	}
	livePerRealm, livePerApplication := s.c.Limits.live()
	gate := guard.NewGate(guard.Rates{
		PerApplication: rate.Limit(s.c.Limits.CreatePerApplication), PerAddress: rate.Limit(s.c.Limits.CreatePerAddress),
		Burst: guard.DefaultRates().Burst, LivePerRealm: livePerRealm, LivePerApplication: livePerApplication,
	})
	p.pipeline, err = authn.New(authn.Config{
		Store: s.store, Challenges: challenges, Devices: devices, Hub: s.hub, Factors: p.factors, Users: users,
		Realms: p.realms, Policies: p.policies, Gate: gate, Logger: s.log, Span: s.telemetry.Steps(),
	})
	if err != nil {
		return parts{}, err
	}
	sealing, err := realm.NewSealing(ring, s.node())
	if err != nil {
		return parts{}, err
	}
	p.accounts, err = account.New(account.Config{
		Store: s.store, Challenges: challenges, Devices: devices, Factors: p.factors, Users: users,
		Realms: p.realms, Policies: p.policies, Sealing: sealing, PublicURL: s.urls[0],
	})
	if err != nil {
		return parts{}, err
	}
	if err := s.buildOutbox(ring, &p); err != nil {
		return parts{}, err
	}
	if err := p.realms.Ensure(ctx); err != nil {
		return parts{}, fmt.Errorf("default realm: %w", err)
	}
	if err := p.accounts.FollowSeal(ctx); err != nil { // before anything is sealed
		return parts{}, fmt.Errorf("sealing key: %w", err)
	}
	return p, s.firstKey(ctx, p)
}

// housekeeping sweeps what is over, on every node; who comes second finds nothing.
func (s *Server) housekeeping(p parts) func(context.Context) error {
	return func(ctx context.Context) error {
		t := time.NewTicker(housekeepingEvery)
		defer t.Stop()
		for {
			began := time.Now()
			err := errors.Join(p.accounts.Sweep(ctx), p.webhooks.Sweep(ctx), p.deliveries.Sweep(ctx))
			s.telemetry.Swept(time.Since(began), err)
			if err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "housekeeping failed", slog.Any("error", err))
			}
			select {
			case <-t.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// fronts mounts every front on one handler.
func (s *Server) fronts(ring *keys.Ring, p parts) (http.Handler, error) {
	proxies, err := s.c.proxies()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	shares := httpkit.NewShares(s.c.Limits.shares())
	d, err := devicefront.New(devicefront.Config{
		Pipeline: p.pipeline, Accounts: p.accounts, Realms: p.realms, Shares: shares, Ring: ring, Logger: s.log, URLs: s.urls,
		Authenticator: s.c.Authenticator, Now: s.now,
	})
	if err != nil {
		return nil, err
	}
	d.Mount(mux)
	l, err := login.New(login.Config{
		Pipeline: p.pipeline, Accounts: p.accounts, Ring: ring, Logger: s.log, Realms: p.realms, URLs: s.urls, Now: s.now,
	})
	if err != nil {
		return nil, err
	}
	l.Mount(mux)
	r, err := rest.New(rest.Config{
		Pipeline: p.pipeline, Accounts: p.accounts, Applications: p.applications, Realms: p.realms, Events: p.events,
		Policies: p.policies, Replays: p.replays, Webhooks: p.webhooks, Shares: shares, Ring: ring, Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	r.Mount(mux)
	if s.ops == nil {
		mux.Handle("/healthz", s.health())
		mux.Handle("/readyz", s.health())
	}
	s.installation = installation(ring)
	entry := httpkit.Entry{
		Logger: s.log, Client: httpkit.ClientAddr{Trusted: proxies}, Observer: s.telemetry,
		Quiet: []string{"GET /healthz", "GET /readyz"},
	}
	https := strings.HasPrefix(s.urls[0], "https:")
	admitted := httpkit.Admission(s.log, s.c.Limits.Waiting, s.introduce(httpkit.Routes(s.log, mux)))
	return entry.Wrap(httpkit.SecurityHeaders(https, d.Admit(admitted))), nil
}

// now is the clock of what no store keeps.
func (s *Server) now() time.Time {
	t := time.Now()
	if s.o.Offset != nil {
		t = t.Add(s.o.Offset())
	}
	return t
}
