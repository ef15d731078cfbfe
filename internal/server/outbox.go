package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/egress"
	"github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/notice/webhook"
)

// buildOutbox makes what leaves the server: the one client that calls out, webhooks, and the worker
// that delivers.
func (s *Server) buildOutbox(ring *keys.Ring, p *parts) error {
	client, err := s.egress()
	if err != nil {
		return err
	}
	p.webhooks, err = endpoint.New(endpoint.Config{
		Store: s.store, Ring: ring, Outbox: s.outbox, Sender: webhook.New(client), Check: client.Check, NewSecret: webhook.NewSecret,
	})
	if err != nil {
		return err
	}
	p.deliveries, err = deliver.New(deliver.Config{
		Outbox: s.outbox, Store: s.store, Senders: map[string]deliver.Sender{endpoint.Kind: p.webhooks}, Logger: s.log,
		Keep: s.c.Deliveries.Keep, KeepDead: s.c.Deliveries.KeepDead,
	})
	return err
}

// egress makes the client that calls out.
func (s *Server) egress() (*egress.Client, error) {
	allow, err := prefixes("egress.allow", s.c.Egress.Allow)
	if err != nil {
		return nil, err
	}
	c := egress.Config{Allow: allow}
	if s.c.Egress.CAFile != "" {
		text, err := os.ReadFile(s.c.Egress.CAFile)
		if err != nil {
			return nil, fmt.Errorf("egress.ca_file: %w", err)
		}
		if c.Roots, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("the system's certificate authorities: %w", err)
		}
		if !c.Roots.AppendCertsFromPEM(text) {
			return nil, errors.New("egress.ca_file: there is no certificate in it")
		}
	}
	return egress.New(c), nil
}
