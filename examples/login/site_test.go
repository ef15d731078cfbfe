package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/client"
	"github.com/nodauth/nod/internal/server"
	"github.com/nodauth/nod/protocol"
)

const password = "violet heron under glass"

// world is a server, a user with a device, and the site.
type world struct {
	t      *testing.T
	site   string
	device *authenticator.Device
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg := server.DefaultConfig()
	cfg.Listen, cfg.DataDir = "127.0.0.1:0", t.TempDir()
	s, err := server.New(t.Context(), cfg, server.Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	key, err := os.ReadFile(filepath.Join(cfg.DataDir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	admin := must(client.New(client.Config{URL: s.LocalURL(), APIKey: client.Secret(strings.TrimSpace(string(key)))}))(t)
	user := must(admin.Users.Create(ctx, client.NewUser{Name: "jo", Password: password}))(t)
	ticket := must(admin.Enrolments.Create(ctx, user.ID, client.NewEnrolment{}))(t)
	auth := must(authenticator.New(authenticator.Config{Store: authenticator.NewMemory(), Platform: protocol.PlatformCLI}))(t)
	enrolment := must(auth.Enrol(ctx, string(ticket.URL), "phone"))(t)
	must(admin.Enrolments.Confirm(ctx, ticket.ID, client.Secret(enrolment.ConfirmCode)))(t)
	app := must(admin.Applications.Create(ctx, client.NewApplication{Name: "Example"}))(t)
	nod := must(client.New(client.Config{URL: s.LocalURL(), APIKey: app.Key.Secret, Application: app.Application.ID}))(t)
	web := httptest.NewServer(newSite(nod).handler())
	t.Cleanup(web.Close)
	return &world{t: t, site: web.URL, device: must(auth.Device(enrolment.Account.ID))(t)}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func (w *world) read(res *http.Response, err error) (int, string) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

// login gives the digits that the page shows.
func (w *world) login(b *http.Client, password string) (int, string) {
	w.t.Helper()
	status, text := w.read(b.PostForm(w.site+"/login", url.Values{"user": {"jo"}, "password": {password}}))
	digits := regexp.MustCompile(`<strong>([0-9]{6})</strong>`).FindStringSubmatch(text)
	if digits == nil {
		return status, ""
	}
	return status, digits[1]
}

func (w *world) prompt() authenticator.Prompt {
	w.t.Helper()
	for {
		u, err := w.device.Poll(w.t.Context(), 25)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(u.Prompts) == 1 {
			return u.Prompts[0]
		}
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	if status, digits := w.login(b, "wrong horse battery"); status != http.StatusForbidden || digits != "" {
		t.Fatalf("a wrong password: got %d and digits %q", status, digits)
	}
	_, digits := w.login(b, password)
	if digits == "" {
		t.Fatal("the page shows no digits")
	}
	p := w.prompt()
	if p.App.Name != "Example" || p.Context.IP != "127.0.0.1" {
		t.Errorf("got prompt %+v", p.Prompt)
	}
	if _, err := w.device.Approve(t.Context(), p, authenticator.Approval{Match: protocol.MatchDigits, Answer: digits}); err != nil {
		t.Fatal(err)
	}
	// Another browser that knows no cookie gets nothing of it.
	if status, _ := w.read(w.browser().Get(w.site + "/finish")); status != http.StatusBadRequest {
		t.Errorf("a stranger at /finish: got %d", status)
	}
	if status, text := w.read(b.Get(w.site + "/finish")); status != http.StatusOK || !strings.Contains(text, "Hello, jo.") {
		t.Errorf("got %d\n%s", status, text)
	}
	if _, text := w.read(b.PostForm(w.site+"/logout", nil)); strings.Contains(text, "Hello") {
		t.Error("still signed in")
	}
}

func TestDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	if _, digits := w.login(b, password); digits == "" {
		t.Fatal("the page shows no digits")
	}
	if _, err := w.device.Deny(t.Context(), w.prompt()); err != nil {
		t.Fatal(err)
	}
	if status, text := w.read(b.Get(w.site + "/finish")); status != http.StatusForbidden || !strings.Contains(text, "denied") {
		t.Errorf("got %d\n%s", status, text)
	}
	if _, text := w.read(b.Get(w.site + "/")); strings.Contains(text, "Hello") {
		t.Error("signed in")
	}
}

func TestOtherSitesFormsAreRefused(t *testing.T) {
	t.Parallel()
	nod := must(client.New(client.Config{URL: "https://nod.test"}))(t)
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader("user=jo&password=x"))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	newSite(nod).handler().ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d, want 403", w.Code)
	}
}
