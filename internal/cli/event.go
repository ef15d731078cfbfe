package cli

import (
	"io"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
)

type eventCmd struct {
	connection
	List   eventList   `cmd:"" help:"List events, or follow them."`
	Export eventExport `cmd:"" help:"Write events as lines of JSON, each once, to go on with later."`
}

const followPace = 2 * time.Second

type eventList struct {
	User        string `placeholder:"USER" help:"Only of this user: name, alias or id."`
	Application string `placeholder:"APPLICATION" help:"Only of this application: name or id."`
	Device      string `placeholder:"ID" help:"Only of this device."`
	Challenge   string `placeholder:"ID" help:"Only of this challenge."`
	Kind        string `placeholder:"KIND" help:"Only of this kind, as challenge.denied, or of all that begin so, as challenge. with the dot."`
	Since       string `placeholder:"WHEN" help:"Only those not older: a time as 2026-11-22T10:00:00Z, or how long ago, as 24h."`
	Limit       int    `default:"100" help:"How many at most, the newest; 0 for all."`
	Follow      bool   `short:"f" help:"Go on with those to come."`
}

// Help gives examples.
func (eventList) Help() string {
	return "Oldest first, so that the newest stand at the end. With --follow and --json each event is a line.\n\nExamples:\n\n" +
		"    nod event list --user jo --since 24h\n    nod event list --kind challenge. --follow\n    nod event list --challenge ch_… --json\n"
}

// Run lists events.
func (v *eventList) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	q, err := v.query(a, c)
	if err != nil {
		return err
	}
	q.Limit = pageSize(v.Limit)
	events, err := collect(a, v.Limit, c.Events.All(a.ctx, q))
	if err != nil {
		return err
	}
	for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
		events[i], events[j] = events[j], events[i]
	}
	if v.Follow {
		return a.follow(c, q, events)
	}
	return a.show(client.Page[client.Event]{Items: events}, func(w io.Writer) {
		var rows [][]string
		for _, e := range events {
			rows = append(rows, eventRow(e, q))
		}
		table(w, "AT KIND BY ABOUT", rows)
	})
}

func (v *eventList) query(a *app, c *client.Client) (client.EventQuery, error) {
	q := client.EventQuery{Device: v.Device, Challenge: v.Challenge, Kind: v.Kind}
	var err error
	if q.Since, err = a.moment("--since", v.Since); err != nil {
		return q, err
	}
	if v.User != "" {
		u, err := a.user(c, v.User)
		if err != nil {
			return q, err
		}
		q.User = u.ID
	}
	if v.Application != "" {
		p, err := a.application(c, v.Application)
		if err != nil {
			return q, err
		}
		q.Application = p.ID
	}
	return q, nil
}

// eventRow has first what is short and tells most. What every event listed is about, by q, is left
// out.
func eventRow(e client.Event, q client.EventQuery) []string {
	var about []string
	for _, name := range sortedKeys(e.Data) {
		about = append(about, name+"="+e.Data[name])
	}
	for _, s := range [][2]string{{e.Challenge, q.Challenge}, {e.Application, q.Application}, {e.Device, q.Device}, {e.User, q.User}} {
		if s[0] != s[1] {
			about = append(about, s[0])
		}
	}
	by := e.Actor
	if e.Address != "" {
		by = strings.TrimPrefix(by+" "+e.Address, " ")
	}
	return []string{e.At.Local().Format("2006-01-02 15:04:05.000"), e.Kind, by, strings.Join(about, " ")}
}

// follow prints the events given and then each that comes, until the person stops it. Events of
// one moment may come in two looks, so it asks from the last moment on and leaves out what it
// printed.
func (a *app) follow(c *client.Client, q client.EventQuery, events []client.Event) error {
	printed := make(map[string]bool)
	q.OldestFirst = true
	if q.Since.IsZero() && len(events) == 0 {
		q.Since = a.now()
	}
	for {
		last := q.Since
		for _, e := range events {
			if !printed[e.ID] {
				if err := a.printEvent(e, q); err != nil {
					return err
				}
			}
			if e.At.After(last) {
				last = e.At
			}
		}
		clear(printed)
		for _, e := range events {
			printed[e.ID] = true
		}
		if err := pause(a.ctx, followPace); err != nil {
			return nil // stopped by the person
		}
		q.Since, q.Paging = last, client.Paging{Limit: mostPerPage}
		var err error
		if events, err = collect(a, 0, c.Events.All(a.ctx, q)); err != nil {
			if a.ctx.Err() != nil {
				return nil // likewise
			}
			return err
		}
	}
}

func (a *app) printEvent(e client.Event, q client.EventQuery) error {
	if a.json {
		return a.line(e)
	}
	row := eventRow(e, q)
	_, err := io.WriteString(a.stdout, strings.Join(row, "  ")+"\n")
	return err
}
