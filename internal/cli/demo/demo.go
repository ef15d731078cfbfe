// Package demo shows a complete sign-in on a server of its own: an administrator, an application
// and an authenticator that know nothing but the server's address, over its real listeners. It
// starts the server and has otherwise nothing that an outsider has not.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/client"
	"github.com/nodauth/nod/internal/server"
	"github.com/nodauth/nod/protocol"
)

// Config says where and how the demonstration runs.
type Config struct {
	Server server.Config // DataDir is the demonstration's folder
	Exit   bool          // stop after the sign-in
	JSON   bool          // print one JSON document instead of text
	// Program is nod as the person called it, for commands to be copied.
	Program string
	Out     io.Writer
	Log     io.Writer
}

// Step is one moment of the sign-in.
type Step struct {
	Step string    `json:"step"`
	At   time.Time `json:"at"`
	MS   float64   `json:"ms"` // since the challenge was created
}

// Result is what the demonstration showed.
type Result struct {
	URL       string          `json:"url"`
	User      string          `json:"user"`
	Challenge string          `json:"challenge"`
	Match     string          `json:"match"`
	Timeline  []Step          `json:"timeline"`
	Grant     client.Grant    `json:"grant"`
	Receipt   json.RawMessage `json:"receipt"`
	Files     Files           `json:"files"`
}

// Files are what the demonstration leaves behind.
type Files struct {
	Receipt       string `json:"receipt"`
	DeviceKey     string `json:"device_key"` // taken at enrolment, to verify receipts with
	RealmKey      string `json:"realm_key"`  // likewise
	Authenticator string `json:"authenticator"`
	AdminKey      string `json:"admin_key"`
	AppKey        string `json:"application_key"`
}

const (
	demoUser = "ada"
	demoApp  = "Demo application"
	demoIP   = "203.0.113.7" // an address for documentation
	demoUA   = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
)

// Run starts a server, signs a demonstration user in, prints what happened, and then serves until
// ctx ends unless it is to exit.
func Run(ctx context.Context, c Config) error {
	s, err := server.New(ctx, c.Server, server.Options{Log: c.Log})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(serving) }()
	r, err := signIn(ctx, c.Server.DataDir, s.LocalURL())
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w\nTo begin anew remove the folder %s, or name another with --data", err, c.Server.DataDir)
	}
	if err == nil {
		err = c.print(r)
	}
	if err != nil || c.Exit {
		stop()
		return errors.Join(err, <-done)
	}
	return <-done
}

func signIn(ctx context.Context, dir, url string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d := &demonstration{url: url, files: Files{
		Receipt: filepath.Join(dir, "receipt.json"), DeviceKey: filepath.Join(dir, "device-key.json"),
		RealmKey: filepath.Join(dir, "realm-key.json"), Authenticator: filepath.Join(dir, "authenticator.json"),
		AdminKey: filepath.Join(dir, "admin.key"), AppKey: filepath.Join(dir, "application.key"),
	}}
	for _, step := range []func(context.Context) error{d.administrate, d.enrol, d.challenge, d.decide, d.redeem, d.look} {
		if err := step(ctx); err != nil {
			return Result{}, err
		}
	}
	return d.result, nil
}

type demonstration struct {
	url    string
	files  Files
	admin  *client.Client
	app    *client.Client
	user   client.User
	device *authenticator.Device
	asked  client.Challenge
	told   chan toldResult
	result Result
}

type toldResult struct {
	challenge client.Challenge
	err       error
}

// administrate makes the user and the application, or finds those of an earlier run.
func (d *demonstration) administrate(ctx context.Context) error {
	key, err := os.ReadFile(d.files.AdminKey)
	if err != nil {
		return fmt.Errorf("read administration key: %w", err)
	}
	d.admin, err = client.New(client.Config{URL: d.url, APIKey: client.Secret(strings.TrimSpace(string(key)))})
	if err != nil {
		return err
	}
	users, err := d.admin.Users.List(ctx, client.UserQuery{Name: demoUser})
	if err != nil {
		return fmt.Errorf("look for user %s: %w", demoUser, err)
	}
	if len(users.Items) > 0 {
		d.user = users.Items[0]
	} else if d.user, err = d.admin.Users.Create(ctx, client.NewUser{Name: demoUser}); err != nil {
		return fmt.Errorf("create user %s: %w", demoUser, err)
	}
	return d.application(ctx)
}

func (d *demonstration) application(ctx context.Context) error {
	id := ""
	for a, err := range d.admin.Applications.All(ctx) {
		if err != nil {
			return fmt.Errorf("look for the application: %w", err)
		}
		if a.Name == demoApp {
			id = a.ID
		}
	}
	if id == "" {
		made, err := d.admin.Applications.Create(ctx, client.NewApplication{
			Name: demoApp, Scopes: []string{"authenticate", "assert_first_factor"},
		})
		if err != nil {
			return fmt.Errorf("create application: %w", err)
		}
		id = made.Application.ID
		if err := os.WriteFile(d.files.AppKey, []byte(made.Key.Secret+"\n"), 0o600); err != nil {
			return fmt.Errorf("keep the application's key: %w", err)
		}
	}
	key, err := os.ReadFile(d.files.AppKey)
	if err != nil {
		return fmt.Errorf("the folder is not this demonstration's: %w", err)
	}
	realm, err := d.admin.Realms.Current(ctx)
	if err != nil {
		return fmt.Errorf("read the realm: %w", err)
	}
	d.app, err = client.New(client.Config{URL: d.url, Issuer: realm.Issuer, APIKey: client.Secret(strings.TrimSpace(string(key))), Application: id})
	return err
}

// enrol enrols the authenticator and takes the two keys that receipts are verified with.
func (d *demonstration) enrol(ctx context.Context) error {
	store, err := authenticator.OpenFile(d.files.Authenticator, authenticator.Plain())
	if err != nil {
		return err
	}
	a, err := authenticator.New(authenticator.Config{Store: store, Platform: protocol.PlatformCLI, AppVersion: "demo"})
	if err != nil {
		return err
	}
	have, err := a.Accounts()
	if err != nil {
		return err
	}
	for _, account := range have { // of an earlier run, at the same address
		if account.DeviceURL == d.url {
			d.device, err = a.Device(account.ID)
			return err
		}
	}
	ticket, err := d.admin.Enrolments.Create(ctx, d.user.ID, client.NewEnrolment{})
	if err != nil {
		return fmt.Errorf("make a ticket: %w", err)
	}
	e, err := a.Enrol(ctx, string(ticket.URL), "Demo phone")
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	if _, err := d.admin.Enrolments.Confirm(ctx, ticket.ID, client.Secret(e.ConfirmCode)); err != nil {
		return fmt.Errorf("confirm the enrolment: %w", err)
	}
	account, err := e.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for the enrolment: %w", err)
	}
	if d.device, err = a.Device(account.ID); err != nil {
		return err
	}
	set, err := d.device.KeySet()
	if err != nil {
		return err
	}
	own, err := protocol.NewJWK(d.device.PublicKey())
	if err != nil {
		return err
	}
	return errors.Join(save(d.files.DeviceKey, own), save(d.files.RealmKey, set.Current))
}

func save(file string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// challenge asks for the sign-in and leaves the application waiting for the outcome.
func (d *demonstration) challenge(ctx context.Context) error {
	var err error
	d.asked, err = d.app.Challenges.Create(ctx, client.NewChallenge{
		User: client.UserRef{Name: demoUser}, Kind: client.Login, FirstFactor: client.FirstFactorAsserted,
		Reason: "Sign in to the demonstration", Nonce: "demo",
		Context: &client.RequestContext{IP: demoIP, UserAgent: demoUA, BrowserID: "demo-browser"},
	})
	if err != nil {
		return fmt.Errorf("ask for a challenge: %w", err)
	}
	d.told = make(chan toldResult, 1)
	go func() {
		c, err := d.app.Challenges.Wait(ctx, d.asked.ID)
		d.told <- toldResult{c, err}
	}()
	return nil
}

// decide is the person with the device: sees the prompt, types the six digits of the login page.
func (d *demonstration) decide(ctx context.Context) error {
	p, err := d.device.Find(ctx, d.asked.ID)
	if err != nil {
		return fmt.Errorf("find the prompt: %w", err)
	}
	shown := time.Now()
	if err := d.device.Stamp(ctx, p.Challenge, protocol.StampShown, shown); err != nil {
		return fmt.Errorf("stamp: %w", err)
	}
	out, err := d.device.Approve(ctx, p, authenticator.Approval{
		Match: protocol.MatchDigits, Answer: string(d.asked.Match.Digits), Shown: shown, Locale: "en",
	})
	if err != nil {
		return fmt.Errorf("approve: %w", err)
	}
	if out.State != string(client.Approved) {
		return fmt.Errorf("the approval left the challenge %s", out.State)
	}
	return nil
}

func (d *demonstration) redeem(ctx context.Context) error {
	told := <-d.told
	if told.err != nil {
		return fmt.Errorf("wait for the outcome: %w", told.err)
	}
	if told.challenge.State != client.Approved {
		return fmt.Errorf("the application was told %s", told.challenge.State)
	}
	g, err := d.app.Challenges.Redeem(ctx, d.asked.ID)
	if err != nil {
		return fmt.Errorf("redeem: %w", err)
	}
	grant, err := d.app.VerifyGrant(ctx, string(g.Grant), client.GrantWanted{Nonce: "demo", Challenge: d.asked.ID})
	if err != nil {
		return fmt.Errorf("verify the grant: %w", err)
	}
	receipt, err := d.app.Challenges.Receipt(ctx, d.asked.ID)
	if err != nil {
		return fmt.Errorf("fetch the receipt: %w", err)
	}
	if err := os.WriteFile(d.files.Receipt, receipt, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", d.files.Receipt, err)
	}
	d.result = Result{
		URL: d.url, User: demoUser, Challenge: d.asked.ID, Match: grant.Match, Grant: grant, Receipt: json.RawMessage(receipt), Files: d.files,
	}
	return nil
}

// moments are the events of the timeline and what they are called.
var moments = []struct{ kind, step string }{
	{"challenge.created", "created"},
	{"challenge.delivered", "device told"},
	{"challenge.shown", "shown"},
	{"challenge.approved", "decided"},
	{"challenge.told", "application told"},
	{"challenge.redeemed", "redeemed"},
}

// look reads the timeline from the server's own events. Those that decide nothing are written a
// moment later than they happen, so it asks until they are all there.
func (d *demonstration) look(ctx context.Context) error {
	for {
		page, err := d.admin.Events.List(ctx, client.EventQuery{Challenge: d.asked.ID, OldestFirst: true})
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		at := map[string]time.Time{}
		for _, e := range page.Items {
			if _, seen := at[e.Kind]; !seen {
				at[e.Kind] = e.At
			}
		}
		d.result.Timeline = nil
		for _, m := range moments {
			if t, ok := at[m.kind]; ok {
				d.result.Timeline = append(d.result.Timeline, Step{m.step, t, float64(t.Sub(at["challenge.created"]).Microseconds()) / 1000})
			}
		}
		if len(d.result.Timeline) == len(moments) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("events are missing: %w", ctx.Err())
		}
	}
}
