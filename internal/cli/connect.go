package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nodauth/nod/client"
)

// connection says which server, with which credential.
type connection struct {
	URL        string `name:"url" env:"NOD_URL" group:"server" placeholder:"URL" help:"The server, such as https://auth.example.org."`
	APIKeyFile string `name:"api-key-file" env:"NOD_API_KEY_FILE" group:"server" placeholder:"FILE" help:"File with the API key. The key itself may be in $$NOD_API_KEY."`
	DataDir    string `name:"data-dir" env:"NOD_DATA_DIR" group:"server" default:"nod-data" placeholder:"DIR" help:"Data directory of a local server, which says the rest."`

	key     client.Secret
	keyFrom string
}

// AfterApply hands what was parsed to the run.
func (c *connection) AfterApply(a *app) error {
	a.conn = *c
	return nil
}

func (c *connection) where() string {
	if c.URL == "" {
		return "the server"
	}
	return c.URL
}

// connect gives the client of the server that was named, or of the local one.
func (a *app) connect() (*client.Client, error) {
	return a.connectWith(client.Config{})
}

func (a *app) connectWith(cfg client.Config) (*client.Client, error) {
	if err := a.findServer(); err != nil {
		return nil, err
	}
	if err := a.findKey(); err != nil {
		return nil, err
	}
	cfg.URL, cfg.APIKey, cfg.UserAgent = a.conn.URL, a.conn.key, "nod/"+buildVersion().Version
	return client.New(cfg)
}

func (a *app) findServer() error {
	if a.conn.URL != "" {
		return nil
	}
	file := filepath.Join(a.conn.DataDir, "url")
	url, err := readLine(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("which server? %s does not exist, so there is no local one here\n"+
			"Name it by --url or NOD_URL, or go where \"nod serve\" was started, or set NOD_DATA_DIR", file)
	}
	if err != nil {
		return fmt.Errorf("read the local server's URL: %w", err)
	}
	a.conn.URL = url
	return nil
}

// findKey finds the API key. The local server's own key goes to that server alone, whatever other
// one is named.
func (a *app) findKey() error {
	switch key := a.getenv("NOD_API_KEY"); {
	case key != "" && a.conn.APIKeyFile == "":
		a.conn.key, a.conn.keyFrom = client.Secret(strings.TrimSpace(key)), "NOD_API_KEY"
		return nil
	case a.conn.APIKeyFile != "":
		text, err := readLine(a.conn.APIKeyFile)
		if err != nil {
			return fmt.Errorf("read the API key: %w", err)
		}
		a.conn.key, a.conn.keyFrom = client.Secret(text), a.conn.APIKeyFile
		return nil
	}
	if local, err := readLine(filepath.Join(a.conn.DataDir, "url")); err != nil || local != strings.TrimSuffix(a.conn.URL, "/") {
		return nil //nolint:nilerr // there is no local server, so none of its keys
	}
	file := filepath.Join(a.conn.DataDir, "admin.key")
	text, err := readLine(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the local server's API key: %w", err)
	}
	a.conn.key, a.conn.keyFrom = client.Secret(text), file
	return nil
}

// readLine reads a file of one line.
func readLine(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}

var idForm = regexp.MustCompile(`^[a-z]+_[a-z2-7]{26}$`)

func isID(s, prefix string) bool { return strings.HasPrefix(s, prefix) && idForm.MatchString(s) }

// user finds a user by id, name or alias.
func (a *app) user(c *client.Client, ref string) (client.User, error) {
	if isID(ref, "usr_") {
		return c.Users.Get(a.ctx, ref)
	}
	p, err := c.Users.List(a.ctx, client.UserQuery{Name: ref})
	if err != nil {
		return client.User{}, err
	}
	if len(p.Items) != 1 {
		return client.User{}, fmt.Errorf("there is no user %q\n\"nod user list\" shows who there is", ref)
	}
	return p.Items[0], nil
}

// application finds an application by id or name.
func (a *app) application(c *client.Client, ref string) (client.Application, error) {
	if isID(ref, "app_") {
		return c.Applications.Get(a.ctx, ref)
	}
	for app, err := range c.Applications.All(a.ctx) {
		if err != nil {
			return client.Application{}, err
		}
		if app.Name == ref {
			return app, nil
		}
	}
	return client.Application{}, fmt.Errorf("there is no application %q\n\"nod application list\" shows which there are", ref)
}
