package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/certificate"
	"github.com/nodauth/nod/internal/checkup"
	"github.com/nodauth/nod/internal/disk"
	"github.com/nodauth/nod/internal/doctor"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/protocol"
)

// Examination is how thorough Examine is.
type Examination struct {
	Deep   bool   // read all of a SQLite database
	CAFile string // PEM certificates that are trusted beside the system's when the public URL is asked
	Offset func() time.Duration
}

// Examine looks at everything that a server with this configuration depends on, whether or not it
// runs, and changes nothing. The configuration has been checked.
func Examine(ctx context.Context, c Config, e Examination) []checkup.Check {
	if e.Offset == nil {
		e.Offset = func() time.Duration { return 0 }
	}
	x := &examiner{c: c, e: e}
	x.directory()
	x.secrets()
	x.database(ctx)
	x.certificateFiles()
	x.proxies()
	x.limits()
	x.public(ctx)
	return x.all
}

type examiner struct {
	c    Config
	e    Examination
	ring *keys.Ring // nil if it could not be opened
	all  []checkup.Check
}

func (x *examiner) add(c ...checkup.Check) { x.all = append(x.all, c...) }

func (x *examiner) now() time.Time { return time.Now().Add(x.e.Offset()) }

func (x *examiner) directory() {
	const name = "data directory"
	dir := x.c.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		x.add(checkup.Doubt(name, "start nod serve, or correct data_dir", "there is none at %s yet", dir))
		return
	case err != nil || !info.IsDir():
		x.add(checkup.Bad(name, "correct data_dir", "%s is of no use: %v", dir, err))
		return
	case info.Mode().Perm()&0o077 != 0:
		x.add(checkup.Doubt(name, "chmod 700 "+dir, "%s is open to others (mode %04o)", dir, info.Mode().Perm()))
	default:
		x.add(checkup.Good(name, "%s, for its owner alone", dir))
	}
	x.space("disk of the data directory", dir)
	if path := x.c.sqlitePath(); path != "" && filepath.Dir(path) != filepath.Clean(dir) {
		x.space("disk of the database", filepath.Dir(path))
	}
}

func (x *examiner) space(name, dir string) {
	s, err := disk.SpaceOf(dir)
	if errors.Is(err, disk.ErrUnknown) {
		return
	}
	if err != nil {
		x.add(checkup.Bad(name, "correct the path", "%v", err))
		return
	}
	x.add(judgeSpace(name, s))
}

func judgeSpace(name string, s disk.Space) checkup.Check {
	free := fmt.Sprintf("%d of %d MiB are free", s.Free>>20, s.Total>>20)
	switch {
	case s.Short():
		return checkup.Bad(name, "make room: the server is not ready, and refuses writes once it is full", "%s", free)
	case s.Low():
		return checkup.Doubt(name, "make room", "%s", free)
	}
	return checkup.Good(name, "%s", free)
}

// secrets looks at who may read the files that hold secrets, and opens the sealing key.
func (x *examiner) secrets() {
	const name = "sealing key"
	x.private(filepath.Join(x.c.DataDir, "admin.key"))
	if x.c.TLS.KeyFile != "" {
		x.private(x.c.TLS.KeyFile)
	}
	file, where := filepath.Join(x.c.DataDir, "seal.json"), "seal_key"
	config := keys.Config{Root: x.c.SealKey.Bytes()}
	if x.c.SealKey.IsZero() {
		config, where = keys.Config{File: file}, file
	}
	var err error
	x.ring, err = keys.Open(config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		x.ring = nil
		x.add(checkup.Doubt(name, "start nod serve, which makes it; where there is a database already, put its key there", "there is none at %s", where))
	case err != nil:
		x.ring = nil
		x.add(checkup.Bad(name, "set its mode to 0600, or put the key back from where you keep a copy", "%s is of no use: %v", where, err))
	default:
		x.add(checkup.Good(name, "%s can be read", where))
	}
}

// private looks at a file that nobody else should read, if it is there.
func (x *examiner) private(file string) {
	info, err := os.Stat(file)
	if err != nil {
		return // whoever needs it says so
	}
	name := "permissions of " + filepath.Base(file)
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		x.add(checkup.Bad(name, "chmod 600 "+file, "others may read %s (mode %04o)", file, mode))
		return
	}
	x.add(checkup.Good(name, "for its owner alone"))
}

func (x *examiner) database(ctx context.Context) {
	config := sqlstore.Config{DSN: x.c.database(), Offset: x.e.Offset}
	x.add(sqlstore.Inspect(ctx, config, x.e.Deep, func(tx store.Tx) error {
		if err := x.sealed(tx); err != nil {
			return err
		}
		if err := x.backup(tx); err != nil {
			return err
		}
		return x.orders(tx)
	})...)
}

// oldBackup is from when a backup is too old to be the last one.
const oldBackup = 7 * 24 * time.Hour

// backup says how old the last backup is. Those of PostgreSQL's own tools are not known here.
func (x *examiner) backup(tx store.Tx) error {
	const name, advice = "backup", "make one every day: docs/backup.md"
	text, err := tx.Setting(store.SettingBackup)
	if errors.Is(err, store.ErrNotFound) {
		if !x.c.postgres() {
			x.add(checkup.Doubt(name, advice, "none was made with nod backup"))
		}
		return nil
	}
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, text)
	if age := x.now().Sub(at); err != nil || age > oldBackup {
		x.add(checkup.Doubt(name, advice, "the last one was made at %s", text))
		return nil
	}
	x.add(checkup.Good(name, "the last one was made at %s", text))
	return nil
}

// sealed opens what only this installation's sealing key opens.
func (x *examiner) sealed(tx store.Tx) error {
	const name = "sealing key and database"
	all, err := tx.Keys(mfa.DefaultRealm, "prompt")
	if err != nil || len(all) == 0 || x.ring == nil {
		return err
	}
	k := all[len(all)-1]
	if _, err := x.ring.Signer(string(k.Realm), k.Purpose, k.KID, k.Sealed); err != nil {
		x.add(checkup.Bad(name, "put the seal.json of the installation that made the database into data_dir, or give it as seal_key",
			"the sealing key does not open this database"))
		return nil
	}
	x.add(checkup.Good(name, "they belong together"))
	return nil
}

// orders says which certificates were ordered and not had.
func (x *examiner) orders(tx store.Tx) error {
	if x.c.tlsMode() != tlsACME {
		return nil
	}
	for _, host := range x.c.tlsHosts() {
		name := "certificate of " + host
		o, err := tx.CertificateOrder(host)
		if errors.Is(err, store.ErrNotFound) {
			if _, err = tx.Certificate(host); errors.Is(err, store.ErrNotFound) {
				x.add(checkup.Doubt(name, "start nod serve, and look at its log", "none was ordered yet"))
				continue
			}
			if err == nil {
				x.add(checkup.Good(name, "ordered, and kept in the database"))
				continue
			}
		}
		if err != nil {
			return err
		}
		x.add(checkup.Doubt(name, "the log says what the authority answered; let it reach port 443, or 80 with tls.http_listen",
			"%d attempts since the last success, the next one at %s", o.Failures, o.NotAgain.Time().UTC().Format(time.DateTime)))
	}
	return nil
}

// certificateFiles looks at the files as the server does when it starts.
func (x *examiner) certificateFiles() {
	const name = "certificate files"
	if x.c.tlsMode() != tlsFiles {
		return
	}
	pair, err := certificate.Load(x.c.TLS.CertFile, x.c.TLS.KeyFile, x.c.tlsHosts(), x.now())
	if err != nil {
		x.add(checkup.Bad(name, "docs/certificates.md says what they have to be", "%v", err))
		return
	}
	until := pair.Leaf.NotAfter.UTC().Format(time.DateTime)
	if certificate.Soon(pair.Leaf, x.now()) {
		x.add(checkup.Doubt(name, "replace them", "good until %s only", until))
		return
	}
	x.add(checkup.Good(name, "for %s, until %s", certificate.Names(pair.Leaf), until))
}

// proxies asks whether those who may say who the client is are as few as they should be.
func (x *examiner) proxies() {
	const name = "trusted proxies"
	const advice = "name the addresses that the proxies connect from, and no others: whoever is on the list says who the client is"
	list, err := x.c.proxies()
	if err != nil || len(list) == 0 {
		return
	}
	for _, p := range list {
		wide := map[bool]int{true: 8, false: 16}[p.Addr().Is4()]
		switch {
		case p.Bits() == 0:
			x.add(checkup.Bad(name, advice, "%s is everybody", p))
			return
		case p.Bits() < wide:
			x.add(checkup.Doubt(name, advice, "%s is a large part of the Internet", p))
			return
		case !private(p) && p.Bits() < p.Addr().BitLen()-8:
			x.add(checkup.Doubt(name, advice, "%s are many public addresses", p))
			return
		}
	}
	x.add(checkup.Good(name, "%s", strings.Join(x.c.TrustedProxies, ", ")))
}

func private(p netip.Prefix) bool {
	return p.Addr().IsPrivate() || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast()
}

// reserveFiles is how many files a server has open beside those of its clients.
const reserveFiles = 200

func (x *examiner) limits() {
	const name = "open files"
	most, ok := openFiles()
	if !ok {
		return
	}
	if need := uint64(x.c.Limits.Waiting) + reserveFiles; most < need { //nolint:gosec // is positive
		x.add(checkup.Doubt(name, "raise it where the server is started (LimitNOFILE= for systemd, ulimit -n in a shell), or lower limits.waiting",
			"%d are allowed here, and limits.waiting takes up to %d", most, need))
		return
	}
	x.add(checkup.Good(name, "%d are allowed here", most))
}

// public asks the public URLs; without one, the server of this machine.
func (x *examiner) public(ctx context.Context) {
	roots, err := x.roots()
	if err != nil {
		x.add(checkup.Bad("certificate authority", "correct --ca-file", "%v", err))
		return
	}
	urls := x.c.PublicURL
	if len(urls) == 0 {
		text, err := os.ReadFile(filepath.Join(x.c.DataDir, "url"))
		if err != nil {
			x.add(checkup.Doubt("public URL", "start nod serve", "no server has run with this data directory"))
			return
		}
		urls = []string{strings.TrimSpace(string(text))}
	}
	for _, u := range urls {
		config := doctor.Config{URL: u, Path: protocol.PathWellKnown, Header: installationHeader, Roots: roots, Now: x.now}
		if x.ring != nil {
			config.Installation = installation(x.ring)
		}
		x.add(doctor.Public(ctx, config)...)
	}
}

func (x *examiner) roots() (*x509.CertPool, error) {
	if x.e.CAFile == "" {
		return nil, nil //nolint:nilnil // which means the system's
	}
	text, err := os.ReadFile(x.e.CAFile)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", x.e.CAFile)
	}
	return pool, nil
}
