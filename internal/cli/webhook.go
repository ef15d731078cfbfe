package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nodauth/nod/client"
)

type webhookCmd struct {
	connection
	Create       webhookCreate     `cmd:"" help:"Have an address told of events."`
	List         webhookList       `cmd:"" help:"List webhooks."`
	Show         webhookShow       `cmd:"" help:"Show a webhook."`
	Update       webhookUpdate     `cmd:"" help:"Change, disable or enable a webhook."`
	Delete       webhookDelete     `cmd:"" help:"End a webhook."`
	RotateSecret webhookRotate     `cmd:"" help:"Give a webhook another secret."`
	Ping         webhookPing       `cmd:"" help:"Send a webhook a test event."`
	Deliveries   webhookDeliveries `cmd:"" help:"List what was sent to a webhook."`
	Delivery     webhookDelivery   `cmd:"" help:"Show a delivery with its attempts."`
	Replay       webhookReplay     `cmd:"" help:"Send a delivery, or all that were given up, once more."`
}

// webhookArg is the webhook that a verb is about.
type webhookArg struct {
	Webhook string `arg:"" help:"Id of the webhook."`
}

func webhookFields(w io.Writer, h client.Webhook) {
	events := strings.Join(h.Events, ", ")
	if events == "" {
		events = "all"
	}
	state := h.State
	if h.DisabledReason != "" {
		state += " (" + h.DisabledReason + ")"
	}
	fields(w, "id", h.ID, "url", h.URL, "events", events, "description", h.Description, "state", state,
		"former secret until", moment(h.FormerSecretUntil), "created", moment(h.CreatedAt), "changed", moment(h.ChangedAt))
}

func (a *app) showWebhook(h client.Webhook) error {
	return a.show(h, func(w io.Writer) { webhookFields(w, h) })
}

// showSecret shows a webhook that was just given a secret.
func (a *app) showSecret(h client.Webhook, file string) error {
	return a.show(h, func(w io.Writer) {
		webhookFields(w, h)
		fields(w, "secret", string(h.Secret), "secret file", file)
		if h.Secret != "" {
			a.say("The secret is shown this one time.")
		}
	})
}

type webhookCreate struct {
	URL         string   `arg:"" name:"address" help:"URL that is called, https."`
	Event       []string `placeholder:"KIND" help:"Kind of event, such as challenge.approved, or the beginning of several: challenge. with the dot. May be repeated; all if left out."`
	Description string   `help:"What it is for."`
	SecretFile  string   `placeholder:"FILE" help:"Write the secret to this new file in place of showing it."`
}

// Help gives examples.
func (webhookCreate) Help() string {
	return "The secret, by which the receiver checks signatures, is shown once.\n\nExamples:\n\n    nod webhook create https://hooks.example.com/nod\n" +
		"    nod webhook create https://hooks.example.com/nod --event user. --event device.added --secret-file hook.secret\n"
}

// Run creates a webhook.
func (v *webhookCreate) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	write, err := newKeyFile(v.SecretFile)
	if err != nil {
		return err
	}
	h, err := c.Webhooks.Create(a.ctx, client.NewWebhook{URL: v.URL, Events: v.Event, Description: v.Description})
	if h.Secret, err = write(h.Secret, err); err != nil {
		return err
	}
	return a.showSecret(h, v.SecretFile)
}

type webhookList struct{}

// Help gives an example.
func (webhookList) Help() string { return "Example:\n\n    nod webhook list\n" }

// Run lists webhooks.
func (*webhookList) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	got, err := c.Webhooks.List(a.ctx, client.Paging{Limit: mostPerPage})
	if err != nil {
		return err
	}
	return a.show(got, func(w io.Writer) {
		var rows [][]string
		for _, h := range got.Items {
			rows = append(rows, []string{h.ID, h.State, strings.Join(h.Events, ","), h.URL})
		}
		table(w, "ID STATE EVENTS URL", rows)
	})
}

type webhookShow struct{ webhookArg }

// Help gives an example.
func (webhookShow) Help() string { return "Example:\n\n    nod webhook show whk_…\n" }

// Run shows a webhook.
func (v *webhookShow) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	h, err := c.Webhooks.Get(a.ctx, v.Webhook)
	if err != nil {
		return err
	}
	return a.showWebhook(h)
}

type webhookUpdate struct {
	webhookArg
	URL         *string  `name:"address" placeholder:"URL" help:"New URL."`
	Event       []string `placeholder:"KIND" help:"Kinds of events in place of the present ones. May be repeated."`
	AllEvents   bool     `help:"All kinds of events."`
	Description *string  `help:"What it is for."`
	Disable     bool     `xor:"state" help:"Send it nothing more for now."`
	Enable      bool     `xor:"state" help:"Send to it again, from now on."`
}

// Help gives examples.
func (webhookUpdate) Help() string {
	return "Nothing is recorded for a webhook while it is disabled, and what waits for it is given up.\n\nExamples:\n\n" +
		"    nod webhook update whk_… --event challenge. --event user.reported\n    nod webhook update whk_… --enable\n"
}

// Run changes a webhook.
func (v *webhookUpdate) Run(a *app) error {
	change := client.WebhookChange{URL: v.URL, Description: v.Description}
	switch {
	case v.AllEvents && len(v.Event) > 0:
		return usagef("--event and --all-events do not go together.")
	case v.AllEvents:
		change.Events = &[]string{}
	case len(v.Event) > 0:
		change.Events = &v.Event
	}
	switch {
	case v.Disable:
		change.State = new("disabled")
	case v.Enable:
		change.State = new("enabled")
	}
	if change == (client.WebhookChange{}) {
		return usagef("nothing is to be changed: name --address, --event, --all-events, --description, --disable or --enable.")
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	h, err := c.Webhooks.Update(a.ctx, v.Webhook, change)
	if err != nil {
		return err
	}
	return a.showWebhook(h)
}

type webhookDelete struct{ webhookArg }

// Help gives an example.
func (webhookDelete) Help() string {
	return "What waits for it is given up.\n\nExample:\n\n    nod webhook delete whk_…\n"
}

// Run ends a webhook.
func (v *webhookDelete) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if err := c.Webhooks.Delete(a.ctx, v.Webhook); err != nil {
		return err
	}
	return a.show(map[string]string{"deleted": v.Webhook}, func(w io.Writer) { fmt.Fprintf(w, "Deleted %s.\n", v.Webhook) })
}

type webhookRotate struct {
	webhookArg
	SecretFile string `placeholder:"FILE" help:"Write the secret to this new file in place of showing it."`
}

// Help gives an example.
func (webhookRotate) Help() string {
	return "For 24 hours each delivery is signed by the former secret too.\n\nExample:\n\n    nod webhook rotate-secret whk_… --secret-file hook.secret\n"
}

// Run rotates a secret.
func (v *webhookRotate) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	write, err := newKeyFile(v.SecretFile)
	if err != nil {
		return err
	}
	h, err := c.Webhooks.RotateSecret(a.ctx, v.Webhook)
	if h.Secret, err = write(h.Secret, err); err != nil {
		return err
	}
	return a.showSecret(h, v.SecretFile)
}

func (a *app) showDelivery(d client.WebhookDelivery) error {
	return a.show(d, func(w io.Writer) {
		fields(w, "id", d.ID, "webhook", d.Webhook, "type", d.Type, "state", d.State, "attempts", strconv.Itoa(d.Attempts),
			"next attempt", moment(d.NextAt), "created", moment(d.CreatedAt), "ended", moment(d.EndedAt), "payload", d.Payload)
		if len(d.History) == 0 {
			return
		}
		fmt.Fprintln(w)
		var rows [][]string
		for _, t := range d.History {
			status := ""
			if t.Status != 0 {
				status = strconv.Itoa(t.Status)
			}
			rows = append(rows, []string{strconv.Itoa(t.Number), moment(t.At), t.Outcome, status, strconv.Itoa(t.TookMS), t.Text})
		}
		table(w, "ATTEMPT AT OUTCOME STATUS MS TEXT", rows)
	})
}

type webhookPing struct{ webhookArg }

// Help gives an example.
func (webhookPing) Help() string {
	return "The event has the kind webhook.pinged and goes to this webhook whatever its filter says.\n\nExample:\n\n    nod webhook ping whk_…\n"
}

// Run pings a webhook.
func (v *webhookPing) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.Webhooks.Ping(a.ctx, v.Webhook)
	if err != nil {
		return err
	}
	return a.showDelivery(d)
}

type webhookDeliveries struct {
	webhookArg
	State string `enum:"pending,delivered,dead," default:"" placeholder:"STATE" help:"Only those pending, delivered or dead."`
	Limit int    `default:"100" help:"How many at most, the newest; 0 for all."`
}

// Help gives an example.
func (webhookDeliveries) Help() string {
	return "Newest first.\n\nExample:\n\n    nod webhook deliveries whk_… --state dead\n"
}

// Run lists deliveries.
func (v *webhookDeliveries) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	q := client.DeliveryQuery{State: v.State, Paging: client.Paging{Limit: pageSize(v.Limit)}}
	got, err := collect(a, v.Limit, c.Webhooks.AllDeliveries(a.ctx, v.Webhook, q))
	if err != nil {
		return err
	}
	return a.show(client.Page[client.WebhookDelivery]{Items: got}, func(w io.Writer) {
		var rows [][]string
		for _, d := range got {
			rows = append(rows, []string{d.ID, d.State, d.Type, strconv.Itoa(d.Attempts), moment(d.CreatedAt), moment(d.EndedAt)})
		}
		table(w, "ID STATE TYPE ATTEMPTS CREATED ENDED", rows)
	})
}

// deliveryArg is the delivery that a verb is about.
type deliveryArg struct {
	webhookArg
	Delivery string `arg:"" help:"Id of the delivery."`
}

type webhookDelivery struct{ deliveryArg }

// Help gives an example.
func (webhookDelivery) Help() string { return "Example:\n\n    nod webhook delivery whk_… dlv_…\n" }

// Run shows a delivery.
func (v *webhookDelivery) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.Webhooks.Delivery(a.ctx, v.Webhook, v.Delivery)
	if err != nil {
		return err
	}
	return a.showDelivery(d)
}

type webhookReplay struct {
	webhookArg
	Delivery string `arg:"" optional:"" help:"Id of the delivery; left out with --dead."`
	Dead     bool   `help:"All that were given up."`
	Since    string `placeholder:"WHEN" help:"With --dead, only those not older: a time as 2026-11-22T10:00:00Z, or how long ago, as 24h."`
}

// Help gives examples.
func (webhookReplay) Help() string {
	return "A delivery is sent under its old id, by which a receiver knows it again.\n\nExamples:\n\n" +
		"    nod webhook replay whk_… dlv_…\n    nod webhook replay whk_… --dead --since 24h\n"
}

// Run replays.
func (v *webhookReplay) Run(a *app) error {
	if v.Dead == (v.Delivery != "") || (v.Since != "" && !v.Dead) {
		return usagef("name a delivery, or --dead, to which --since may be added.")
	}
	since, err := a.moment("--since", v.Since)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	if v.Delivery != "" {
		d, err := c.Webhooks.Replay(a.ctx, v.Webhook, v.Delivery)
		if err != nil {
			return err
		}
		return a.showDelivery(d)
	}
	total := 0
	for {
		r, err := c.Webhooks.ReplayDead(a.ctx, v.Webhook, since)
		if err != nil {
			return err
		}
		total += r.Replayed
		if !r.More {
			break
		}
	}
	return a.show(map[string]int{"replayed": total}, func(w io.Writer) { fmt.Fprintf(w, "Sent once more: %d.\n", total) })
}
