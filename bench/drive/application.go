package drive

import (
	"context"
	"encoding/json"
	"fmt"
)

// Challenges makes n challenges, each for a name of its own that nobody has, and gives their ids.
// They are real ones, which nobody can answer, so that they wait.
func (t Target) Challenges(ctx context.Context, app string, n int) ([]string, error) {
	ids := make([]string, n)
	err := Each(32, n, func() (func(int) error, func(), error) {
		c, err := Dial(ctx, t.Address(), "")
		if err != nil {
			return nil, nil, err
		}
		return func(i int) error {
			a, err := c.Do("POST", "/v1/challenges", bearer(app), fmt.Appendf(nil,
				`{"user":{"name":"nobody%d"},"kind":"login","first_factor":"asserted"}`, i))
			made, err := Want[made](a, err, 201)
			ids[i] = made.ID
			return err
		}, c.Close, nil
	})
	return ids, err
}

// SendWait asks for a challenge and waits for up to so many seconds for it to be decided.
func (c *Conn) SendWait(app, id string, wait int) error {
	return c.Send("GET", fmt.Sprintf("/v1/challenges/%s?wait=%d", id, wait), bearer(app), nil)
}

// ReceiveState reads the answer to SendWait.
func (c *Conn) ReceiveState() (string, error) {
	a, err := c.Receive()
	w, err := Want[made](a, err, 200)
	return w.State, err
}

// Challenge makes a challenge for a user.
func (c *Conn) Challenge(app, user string) error {
	a, err := c.Do("POST", "/v1/challenges", bearer(app), fmt.Appendf(nil,
		`{"user":{"name":%q},"kind":"login","first_factor":"asserted"}`, user))
	_, err = Want[made](a, err, 201)
	return err
}

// Cancel cancels a challenge.
func (c *Conn) Cancel(app, id string) error {
	a, err := c.Do("POST", "/v1/challenges/"+id+"/cancel", bearer(app), nil)
	_, err = Want[made](a, err, 200)
	return err
}

// Policy puts a policy in force.
func (t Target) Policy(ctx context.Context, document string) error {
	c, err := Dial(ctx, t.Address(), "")
	if err != nil {
		return err
	}
	defer c.Close()
	body, err := json.Marshal(map[string]string{"document": document})
	if err != nil {
		return err
	}
	a, err := c.Do("PUT", "/v1/policies/current", bearer(t.Admin), body)
	if _, err := Want[struct{}](a, err, 200); err != nil {
		return fmt.Errorf("apply policy: %w", err)
	}
	return nil
}
