package account

import (
	"context"
	"fmt"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// FirstApplication is what the application is called whose key administers a new installation.
const FirstApplication = "administration"

// Bootstrap makes an application which the key, from [application.NewSecret], lets administer the
// realm, if the realm has no application yet; made says whether it did. Whoever gives the key has
// written it down: after this it may be used by nobody else. Of several nodes that start together
// one makes it.
func (s *Service) Bootstrap(ctx context.Context, in mfa.RealmID, key secret.Value) (made bool, err error) {
	err = s.update(ctx, in, func(j *job) error {
		made = false
		some, err := j.tx.ListApplications(in, Page{Limit: 1})
		if err != nil {
			return fmt.Errorf("look for applications: %w", err)
		}
		if len(some) > 0 {
			return nil
		}
		name := FirstApplication
		app, err := application.Create(j.tx, in, application.Changes{Name: &name})
		if err != nil {
			return err
		}
		row, err := application.FirstKey(j.tx, in, app.ID, []application.Scope{application.Authenticate, application.Administer}, key)
		if err != nil {
			return err
		}
		made = true
		if err := j.recordApplication(audit.ApplicationCreated, app.ID, map[string]string{"name": app.Name}); err != nil {
			return err
		}
		return j.recordKey(row, nil)
	})
	return made && err == nil, err
}
