package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/secret"
)

// Config is the whole configuration. No configuration at all is a working, safe, local server.
//
// Every key is also an environment variable: NOD_, the path in capitals, dots and hyphens as
// underscores, so that tls.cert_file is NOD_TLS_CERT_FILE. A secret can be given by the name of a
// file that holds it, with _FILE after the name of its variable.
type Config struct {
	Listen         string       `yaml:"listen" help:"address and port of the API and the device protocol"`
	DataDir        string       `yaml:"data_dir" help:"directory for the database, the sealing key and the first administration key"`
	Database       secret.Value `yaml:"database" help:"postgres:// URL, or a SQLite file; nod.db in data_dir if empty"`
	SealKey        secret.Value `yaml:"seal_key" help:"sealing key document; seal.json in data_dir if empty"`
	PublicURL      []string     `yaml:"public_url" help:"URLs under which devices and browsers reach this server, the first is the issuer"`
	Authenticator  string       `yaml:"authenticator_url" help:"origin of the authenticator web app, admitted by CORS; empty for none"`
	TrustedProxies []string     `yaml:"trusted_proxies" help:"addresses of proxies whose X-Forwarded-For is believed, as prefixes; Forwarded is not read"`
	TLS            TLS          `yaml:"tls"`
	Operations     Operations   `yaml:"operations"`
	Tracing        Tracing      `yaml:"tracing"`
	Events         Events       `yaml:"events"`
	Log            Log          `yaml:"log"`
	Limits         Limits       `yaml:"limits"`
	Egress         Egress       `yaml:"egress"`
	Deliveries     Deliveries   `yaml:"deliveries"`
}

// TLS configures the listener's certificate.
type TLS struct {
	Mode       string   `yaml:"mode" help:"files, acme, or off for plain HTTP; files if cert_file is given, and off on loopback"`
	CertFile   string   `yaml:"cert_file" help:"PEM certificate chain, read again when it changes"`
	KeyFile    string   `yaml:"key_file" help:"PEM private key"`
	Hosts      []string `yaml:"hosts" help:"host names beside those of public_url that the certificate is for"`
	HTTPListen string   `yaml:"http_listen" help:"address of a listener that sends browsers to https, and answers HTTP-01 challenges; none if empty"`
	ACME       ACME     `yaml:"acme"`
}

// ACME configures the authority that certificates are ordered from.
type ACME struct {
	Directory   string `yaml:"directory" help:"URL of the authority's directory"`
	Email       string `yaml:"email" help:"address that the authority may write to"`
	CAFile      string `yaml:"ca_file" help:"PEM certificates that vouch for a private authority's own server; those of the system if empty"`
	AcceptTerms bool   `yaml:"accept_terms" help:"true says that you accept the authority's terms of service"`
}

// The modes of TLS.
const (
	tlsFiles = "files"
	tlsACME  = "acme"
	tlsOff   = "off"
)

// Log configures the log.
type Log struct {
	Level  string `yaml:"level" help:"debug, info, warn or error"`
	Format string `yaml:"format" help:"text or json"`
}

// Limits bounds what callers can cost.
type Limits struct {
	HashSlots             int           `yaml:"hash_slots" help:"password hashes computed at once; the number of processors if 0"`
	Waiting               int           `yaml:"waiting" help:"requests in progress at once, waiting ones among them"`
	WaitingPerApplication int           `yaml:"waiting_per_application" help:"of those, requests of one application; half of waiting if 0"`
	WaitingPerRealm       int           `yaml:"waiting_per_realm" help:"of those, requests of one realm; three quarters of waiting if 0"`
	LivePerRealm          int           `yaml:"live_per_realm" help:"challenges in progress at once in one realm"`
	LivePerApplication    int           `yaml:"live_per_application" help:"of those, challenges of one application; half of live_per_realm if 0"`
	CreatePerApplication  float64       `yaml:"create_per_application" help:"challenges a second that one application may make, per node"`
	CreatePerAddress      float64       `yaml:"create_per_address" help:"challenges a second that one application may make for one address, per node"`
	StopGrace             time.Duration `yaml:"stop_grace" help:"time for requests in progress when the server stops"`
}

// Egress configures what the server calls.
type Egress struct {
	Allow  []string `yaml:"allow" help:"addresses that webhooks may reach although they are not public, as prefixes; those of this machine by plain http too"`
	CAFile string   `yaml:"ca_file" help:"PEM certificates of authorities that are trusted beside the system's when the server calls out"`
}

// Deliveries configures what leaves the server.
type Deliveries struct {
	Timeout  time.Duration `yaml:"timeout" help:"how long a receiver may take to answer; a delivery whose node died is taken over after three times as long"`
	Keep     time.Duration `yaml:"keep" help:"how long deliveries are kept that were made"`
	KeepDead time.Duration `yaml:"keep_dead" help:"how long deliveries are kept that were given up, and can be replayed"`
}

// DefaultConfig is the configuration of a local server.
func DefaultConfig() Config {
	return Config{
		Listen:  "127.0.0.1:8663",
		DataDir: "nod-data",
		TLS:     TLS{ACME: ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory"}},
		Events:  Events{Syslog: Syslog{Facility: "authpriv", Enterprise: documentationNumber}},
		Log:     Log{Level: "info", Format: "text"},
		Limits: Limits{
			Waiting: 50_000, LivePerRealm: 200_000, CreatePerApplication: 5000, CreatePerAddress: 50, StopGrace: 10 * time.Second,
		},
		Deliveries: Deliveries{
			Timeout: deliver.DefaultTimeout, Keep: deliver.DefaultKeep, KeepDead: deliver.DefaultKeepDead,
		},
	}
}

// LoadConfig reads the file, strictly, and then the environment over it. No file is read when path
// is empty. environ has the form of os.Environ.
func LoadConfig(path string, environ []string) (Config, error) {
	c := DefaultConfig()
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return Config{}, fmt.Errorf("read configuration: %w", err)
		}
		dec := yaml.NewDecoder(bytes.NewReader(text))
		dec.KnownFields(true)
		if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
			return Config{}, fmt.Errorf("configuration %s: %s", path, inWords(err))
		}
		if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
			return Config{}, fmt.Errorf("configuration %s: there is something after the first document", path)
		}
	}
	if err := fromEnvironment(&c, environ); err != nil {
		return Config{}, err
	}
	return c, c.Check()
}

var (
	unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongType  = regexp.MustCompile("cannot unmarshal !!\\w+ (`[^`]*` )?into (\\S+)")
)

// inWords says what is wrong in a file without the names of our types.
func inWords(err error) string {
	text := unknownKey.ReplaceAllString(err.Error(), "there is no key $1")
	text = wrongType.ReplaceAllStringFunc(text, func(found string) string {
		m := wrongType.FindStringSubmatch(found)
		what := "what stands here "
		if m[1] != "" {
			what = m[1]
		}
		switch m[2] {
		case "[]string":
			return what + "is not a list, such as [one, other]"
		case "bool":
			return what + "is neither true nor false"
		case "int", "float64":
			return what + "is not a number"
		case "time.Duration":
			return what + "is not a duration, such as 15s"
		case "string", "secret.Value":
			return what + "is not a text"
		}
		return what + "stands where there should be keys with values"
	})
	return strings.NewReplacer("yaml: unmarshal errors:\n  ", "", "\n  ", "; ").Replace(text)
}

// Check says what is wrong with the configuration, in words that name the key.
func (c Config) Check() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not an address and port such as 127.0.0.1:8663", c.Listen)
	}
	if c.DataDir == "" {
		return errors.New("data_dir: must not be empty")
	}
	for _, u := range c.PublicURL {
		if err := checkURL(u); err != nil {
			return fmt.Errorf("public_url: %w", err)
		}
	}
	if strings.Contains(c.sqlitePath(), "://") {
		return errors.New("database: neither a postgres:// URL nor a SQLite file")
	}
	if c.Authenticator != "" {
		if err := checkURL(c.Authenticator); err != nil {
			return fmt.Errorf("authenticator_url: %w", err)
		}
		if u, err := url.Parse(c.Authenticator); err != nil || u.Path != "" {
			return fmt.Errorf("authenticator_url: %q has a path: an origin has none", c.Authenticator)
		}
	}
	if _, err := c.proxies(); err != nil {
		return err
	}
	if !loopback(host) && len(c.PublicURL) == 0 {
		return fmt.Errorf("public_url: required when listen (%s) is not a loopback address: it is the address that devices and browsers use, "+
			"and what devices sign names it; for example public_url: [https://nod.example.com]", c.Listen)
	}
	if err := c.checkTLS(loopback(host)); err != nil {
		return err
	}
	return c.checkRest()
}

// tlsMode is the mode of TLS that holds, "" where it must be said and is not.
func (c Config) tlsMode() string {
	host, _, _ := net.SplitHostPort(c.Listen)
	switch {
	case c.TLS.Mode != "":
		return c.TLS.Mode
	case c.TLS.CertFile != "":
		return tlsFiles
	case loopback(host):
		return tlsOff
	}
	return ""
}

func (c Config) checkTLS(local bool) error {
	t := c.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		return errors.New("tls: cert_file and key_file go together")
	}
	switch c.tlsMode() {
	case tlsFiles:
		if t.CertFile == "" {
			return errors.New("tls.mode: files needs tls.cert_file and tls.key_file")
		}
	case tlsACME:
		if err := c.checkACME(); err != nil {
			return err
		}
	case tlsOff:
		if t.CertFile != "" || t.HTTPListen != "" || len(t.Hosts) > 0 {
			return errors.New("tls.mode: off takes no cert_file, key_file, hosts and http_listen")
		}
		if !local && len(c.TrustedProxies) == 0 {
			return fmt.Errorf("tls.mode: off on %s, which is not a loopback address, needs trusted_proxies: the address of the proxy that has the certificate", c.Listen)
		}
		return nil
	case "":
		return fmt.Errorf("tls.mode: required when listen (%s) is not a loopback address: files with a cert_file and key_file, "+
			"acme for certificates from Let's Encrypt or another authority, or off behind a proxy that trusted_proxies names", c.Listen)
	default:
		return fmt.Errorf("tls.mode: %q is none of files, acme and off", t.Mode)
	}
	if t.HTTPListen != "" {
		if _, _, err := net.SplitHostPort(t.HTTPListen); err != nil {
			return fmt.Errorf("tls.http_listen: %q is not an address and port such as 0.0.0.0:80", t.HTTPListen)
		}
	}
	return nil
}

func (c Config) checkACME() error {
	t := c.TLS
	if t.CertFile != "" {
		return errors.New("tls.mode: acme takes no cert_file and key_file")
	}
	if u, err := url.Parse(t.ACME.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("tls.acme.directory: %q is not an https URL", t.ACME.Directory)
	}
	if !t.ACME.AcceptTerms {
		return fmt.Errorf("tls.acme.accept_terms: must be true: read the terms of service of the authority at %s, and say that you accept them", t.ACME.Directory)
	}
	hosts := c.tlsHosts()
	if len(hosts) == 0 {
		return errors.New("tls.mode: acme needs a public_url with https, whose host the certificate is for")
	}
	for _, h := range hosts {
		if _, err := netip.ParseAddr(h); err == nil || !strings.Contains(strings.Trim(h, "."), ".") || h != strings.ToLower(h) ||
			strings.ContainsAny(h, ":/* ") {
			return fmt.Errorf("tls.mode: acme cannot have a certificate for %q: it has to be a host name such as nod.example.com", h)
		}
	}
	return nil
}

// tlsHosts are the hosts that the certificate is for: those of the public URLs with https, and
// the ones beside.
func (c Config) tlsHosts() []string {
	var hosts []string
	for _, s := range c.PublicURL {
		if u, err := url.Parse(s); err == nil && u.Scheme == "https" && !slices.Contains(hosts, u.Hostname()) {
			hosts = append(hosts, u.Hostname())
		}
	}
	for _, h := range c.TLS.Hosts {
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

func (c Config) checkRest() error {
	if _, err := c.level(); err != nil {
		return err
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("log.format: %q is neither text nor json", c.Log.Format)
	}
	if err := errors.Join(c.Operations.check(), c.Tracing.check(), c.Events.check()); err != nil {
		return err
	}
	if _, err := prefixes("egress.allow", c.Egress.Allow); err != nil {
		return err
	}
	d := c.Deliveries
	if d.Timeout < 100*time.Millisecond || d.Timeout > time.Minute {
		return errors.New("deliveries.timeout: from 100ms to 1m")
	}
	if d.Keep < time.Hour || d.KeepDead < time.Hour {
		return errors.New("deliveries: keep and keep_dead are one hour at least")
	}
	l := c.Limits
	positive := l.CreatePerApplication > 0 && l.CreatePerAddress > 0 // which not-a-number is not
	if l.HashSlots < 0 || l.Waiting < 1 || l.WaitingPerApplication < 0 || l.WaitingPerRealm < 0 || l.LivePerRealm < 1 || l.LivePerApplication < 0 || !positive || l.StopGrace < 0 {
		return errors.New("limits: values must be positive")
	}
	return nil
}

// checkURL wants a URL as browsers write it, since addresses are compared as bytes.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.ContainsAny(s, "?#") || strings.HasSuffix(s, "/") ||
		(u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%q is not a URL such as https://nod.example.com, without a slash at the end", s)
	}
	usual := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	if !strings.HasPrefix(s, u.Scheme+"://"+strings.ToLower(u.Host)) || strings.HasSuffix(u.Host, ":") || u.Port() == usual {
		return fmt.Errorf("%q: write it as browsers do, in lower case and without the usual port", s)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("%q: plain http is for loopback addresses only", s)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (c Config) proxies() ([]netip.Prefix, error) {
	return prefixes("trusted_proxies", c.TrustedProxies)
}

// prefixes reads a list of addresses and prefixes.
func prefixes(key string, list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %q is neither an address nor a prefix", key, s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// shares gives how many of the places for requests in progress one realm and one application have.
func (l Limits) shares() (perRealm, perApplication int) {
	perRealm, perApplication = l.WaitingPerRealm, l.WaitingPerApplication
	if perRealm == 0 {
		perRealm = max(1, l.Waiting/4*3)
	}
	if perApplication == 0 {
		perApplication = max(1, l.Waiting/2)
	}
	return perRealm, perApplication
}

// live gives how many challenges of one realm and of one application are in progress at once.
func (l Limits) live() (perRealm, perApplication int) {
	perRealm, perApplication = l.LivePerRealm, l.LivePerApplication
	if perApplication == 0 {
		perApplication = max(1, perRealm/2)
	}
	return perRealm, perApplication
}

func (c Config) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return 0, fmt.Errorf("log.level: %q is none of debug, info, warn and error", c.Log.Level)
	}
	return l, nil
}

func (c Config) database() string {
	if c.Database.IsZero() {
		return "sqlite:" + filepath.Join(c.DataDir, "nod.db")
	}
	return c.Database.Reveal()
}

// sqlitePath is the file of a SQLite database, "" for PostgreSQL.
func (c Config) sqlitePath() string {
	if c.postgres() {
		return ""
	}
	return strings.TrimPrefix(c.database(), "sqlite:")
}

func (c Config) postgres() bool {
	dsn := c.database()
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// Setting is one key of the configuration.
type Setting struct {
	Key   string `json:"key"` // dotted
	Env   string `json:"variable"`
	Help  string `json:"help"`
	Value string `json:"value"` // secrets are redacted
}

// Settings lists every key with its value, in the order of the file.
func (c Config) Settings() []Setting {
	var out []Setting
	err := walk(reflect.ValueOf(&c).Elem(), "", func(key, help string, v reflect.Value) error {
		out = append(out, Setting{Key: key, Env: envName(key), Help: help, Value: printed(v)})
		return nil
	})
	if err != nil {
		panic("server: " + err.Error()) // the function above returns none
	}
	return out
}

func printed(v reflect.Value) string {
	if s, ok := v.Interface().(secret.Value); ok && s.IsZero() {
		return ""
	}
	if list, ok := v.Interface().([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(v.Interface())
}

func envName(key string) string {
	return "NOD_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// walk visits the leaves of the configuration with their dotted keys.
func walk(v reflect.Value, prefix string, visit func(key, help string, v reflect.Value) error) error {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		key := prefix + f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[secret.Value]() {
			if err := walk(v.Field(i), key+".", visit); err != nil {
				return err
			}
			continue
		}
		if err := visit(key, f.Tag.Get("help"), v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// clientVariables are the NOD_ variables that are not configuration of the server: the command
// line reads them.
var clientVariables = map[string]bool{
	"NOD_URL": true, "NOD_API_KEY": true, "NOD_API_KEY_FILE": true, "NOD_CONFIG": true,
	"NOD_AUTHENTICATOR_PASSPHRASE": true, "NOD_AUTHENTICATOR_PASSPHRASE_FILE": true, "NOD_AUTHENTICATOR_FILE": true,
}

func fromEnvironment(c *Config, environ []string) error {
	given := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "NOD_") && !strings.HasPrefix(name, "NOD_TEST_") && !clientVariables[name] {
			given[name] = value
		}
	}
	err := walk(reflect.ValueOf(c).Elem(), "", func(key, _ string, v reflect.Value) error {
		name := envName(key)
		text, ok := given[name]
		delete(given, name)
		if _, isSecret := v.Interface().(secret.Value); isSecret {
			if file, named := given[name+"_FILE"]; named {
				delete(given, name+"_FILE")
				content, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("%s_FILE: %w", name, err)
				}
				if ok {
					return fmt.Errorf("%s and %s_FILE are both set: set one", name, name)
				}
				text, ok = strings.TrimRight(string(content), "\r\n"), true
			}
		}
		if !ok {
			return nil
		}
		if err := assign(v, text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name := range given {
		return fmt.Errorf("%s: there is no such setting; see nod config show", name)
	}
	return nil
}

func assign(v reflect.Value, text string) error {
	if v.Type() == reflect.TypeFor[secret.Value]() {
		v.Set(reflect.ValueOf(secret.New(text)))
		return nil
	}
	if v.Type() == reflect.TypeFor[[]string]() {
		var list []string
		for _, s := range strings.Split(text, ",") {
			if s = strings.TrimSpace(s); s != "" {
				list = append(list, s)
			}
		}
		v.Set(reflect.ValueOf(list))
		return nil
	}
	if v.Kind() == reflect.String {
		v.SetString(text)
		return nil
	}
	if err := yaml.Unmarshal([]byte(text), v.Addr().Interface()); err != nil {
		return fmt.Errorf("%q is not a value of this kind", text)
	}
	return nil
}
