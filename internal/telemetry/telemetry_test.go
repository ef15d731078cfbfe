package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

func newTelemetry(t *testing.T, c Config) *Telemetry {
	t.Helper()
	tel, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return tel
}

var descForm = regexp.MustCompile(`fqName: "(nod_[a-z_]+)".*variableLabels: \{([a-z,]*)\}`)

// described gives the names of all figures with their labels.
func described(tel *Telemetry) map[string]string {
	descs := make(chan *prometheus.Desc)
	go func() { tel.registry.Describe(descs); close(descs) }()
	out := make(map[string]string)
	for d := range descs {
		if m := descForm.FindStringSubmatch(d.String()); m != nil {
			out[m[1]] = m[2]
		}
	}
	return out
}

// TestDocumented compares the table of the documentation with what there is.
func TestDocumented(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, Config{})
	tel.Read(Readings{})
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(nod_[a-z_]+)` \\| (\\w+) \\| ([^|]*) \\|")
	documented := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = strings.NewReplacer("`", "", " ", "").Replace(m[3])
		if counter := m[2] == "counter"; counter != strings.HasSuffix(m[1], "_total") {
			t.Errorf("%s is documented as a %s", m[1], m[2])
		}
	}
	if diff := cmp.Diff(described(tel), documented); diff != "" {
		t.Errorf("metrics (-program +docs/observability.md):\n%s", diff)
	}
}

// TestContributed wants every metric that a dashboard or an alert names to be there.
func TestContributed(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, Config{})
	tel.Read(Readings{})
	known := described(tel)
	var dashboard, rules any
	alerts, err := os.ReadFile("../../contrib/prometheus/alerts.yml")
	if err == nil {
		err = yaml.Unmarshal(alerts, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	board, err := os.ReadFile("../../contrib/grafana/nod.json")
	if err == nil {
		err = json.Unmarshal(board, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\bnod_[a-z_]+\b`)
	used := make(map[string]bool)
	for file, text := range map[string]string{"alerts.yml": string(alerts), "nod.json": string(board)} {
		for _, n := range name.FindAllString(text, -1) {
			n = strings.TrimSuffix(n, "_bucket")
			used[n] = true
			if _, ok := known[n]; !ok {
				t.Errorf("%s names %s, which is not there", file, n)
			}
		}
	}
	for n := range known {
		if !used[n] {
			t.Errorf("nobody looks at %s", n)
		}
	}
}

// scrape reads the figures as Prometheus would, in text.
func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	tel.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	all := strings.Split(text, "\n")
	for _, line := range lines {
		if !slices.Contains(all, line) {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("no line %s; there is\n%s", line, strings.Join(slices.DeleteFunc(slices.Clone(all), func(s string) bool {
				return !strings.HasPrefix(s, name)
			}), "\n"))
		}
	}
}

func openStore(t *testing.T, tel *Telemetry) store.Store {
	t.Helper()
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{DSN: filepath.Join(t.TempDir(), "nod.db"), Observe: tel.Committed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return tel.Store(st)
}

// TestCounts wants the figures to say what was committed, and nothing of what was not.
func TestCounts(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, Config{})
	st := openStore(t, tel)
	undone := errors.New("undone")
	record := func(kind string, data map[string]string, result error) {
		t.Helper()
		err := st.Update(t.Context(), func(tx store.Tx) error {
			e := store.Event{Realm: "r", Kind: kind, User: "usr_1", Challenge: "ch_1", Data: data}
			return errors.Join(audit.Record(t.Context(), tx, e), result)
		})
		if !errors.Is(err, result) {
			t.Fatal(err)
		}
	}
	rung := map[string]string{"provenance": "stranger", "rung": "yes"}
	record(audit.ChallengeCreated, rung, nil)
	record(audit.ChallengeCreated, rung, undone)
	record(audit.ChallengeCreated, map[string]string{"provenance": "source", "rung": "no", "reason": "budget"}, nil)
	record(audit.GuessesSpent, map[string]string{"kind": "typed"}, nil)
	record(string(mfa.RecordWrongCode), nil, nil)
	record(audit.PasswordWrong, nil, nil)

	// A challenge that is approved after ten seconds.
	var c store.Challenge
	err := st.Update(t.Context(), func(tx store.Tx) error {
		c = store.Challenge{Realm: "r", Nonce: "n", Challenge: mfa.Challenge{
			ID: "ch_2", User: "usr_1", Application: "app_1", Kind: mfa.Login, Provenance: mfa.Strangers,
			FirstFactor: mfa.FirstFactorNone, State: mfa.Pending, CreatedAt: tx.Now().Add(-10 * time.Second),
		}}
		return tx.InsertChallenge(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Version, c.State, c.Evidence.Method, c.Evidence.Match = 1, mfa.Approved, mfa.Push, mfa.Scan
	err = st.Update(t.Context(), func(tx store.Tx) error {
		e := store.Event{Realm: "r", Kind: string(mfa.RecordApproved), Challenge: c.ID}
		return errors.Join(tx.PutChallenge(c), audit.Record(t.Context(), tx, e))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = st.Update(t.Context(), func(tx store.Tx) error {
		d := store.Delivery{Realm: "r", ID: "dlv_1", Kind: "webhook", Target: "whk_1", Payload: []byte("{}"), State: store.DeliveryPending}
		return errors.Join(tx.InsertDelivery(d), tx.InsertAttempt(store.Attempt{Realm: "r", Delivery: d.ID, Number: 1, Outcome: "temporary"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.View(t.Context(), func(store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	wantLines(t, scrape(t, tel),
		`nod_challenges_created_total{provenance="stranger"} 1.0`,
		`nod_challenges_created_total{provenance="source"} 1.0`,
		`nod_prompts_rung_total 1.0`,
		`nod_prompts_suppressed_total{reason="budget"} 1.0`,
		`nod_guesses_refused_total{kind="typed"} 1.0`,
		`nod_wrong_answers_total{kind="code"} 1.0`,
		`nod_wrong_answers_total{kind="password"} 1.0`,
		`nod_events_written_total{kind="challenge.created"} 2.0`,
		`nod_challenge_transitions_total{by="scan",provenance="stranger",to="approved"} 1.0`,
		`nod_challenge_decision_duration_seconds_bucket{result="approved",le="5.0"} 0`,
		`nod_challenge_decision_duration_seconds_bucket{result="approved",le="20.0"} 1`,
		`nod_deliveries_created_total 1.0`,
		`nod_delivery_attempts_total{outcome="temporary"} 1.0`,
		`nod_store_transactions_total{kind="update",result="done"} 8.0`,
		`nod_store_transactions_total{kind="update",result="refused"} 1.0`,
		`nod_store_transactions_total{kind="view",result="done"} 1.0`,
	)
}

// serve answers one request as a listener would.
func serve(tel *Telemetry, h http.HandlerFunc, r *http.Request) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/things/{id}", h)
	w := httptest.NewRecorder()
	httpkit.Entry{Logger: discard(), Observer: tel}.Wrap(httpkit.Routes(discard(), mux)).ServeHTTP(w, r)
	return w
}

func TestRequests(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, Config{})
	h := func(w http.ResponseWriter, _ *http.Request) {
		wantLines(t, scrape(t, tel), `nod_http_requests_in_flight 1.0`)
		w.WriteHeader(http.StatusConflict)
	}
	serve(tel, h, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/things/hidden?q=hidden", nil))
	serve(tel, h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/hidden", nil))
	text := scrape(t, tel)
	wantLines(t, text,
		`nod_http_requests_in_flight 0.0`,
		`nod_http_requests_total{route="POST /v1/things/{id}",status="4xx"} 1.0`,
		`nod_http_requests_total{route="none",status="4xx"} 1.0`,
		`nod_http_request_duration_seconds_count{route="POST /v1/things/{id}"} 1`,
	)
	if strings.Contains(text, "hidden") {
		t.Error("a path is in the figures")
	}
}

func TestReadings(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, Config{})
	tel.Read(Readings{
		Waiters:    func() Waiters { return Waiters{Applications: 1, Devices: 2, Streams: 3, Repeats: 4} },
		Hashes:     func() (int, int) { return 5, 6 },
		BusHealthy: func() bool { return true },
		Store: func() StoreReading {
			return StoreReading{Queued: 7, Stale: 8, Conflicts: 9, Pool: &PoolReading{Busy: 1, Idle: 2, Most: 3, Waits: 4}}
		},
		Certificate: func() (time.Time, bool) { return time.Unix(77, 0), true },
	})
	tel.Bus.Published(3)
	tel.Feeds.Leads("syslog", true)
	tel.Feeds.Lag("syslog", 2*time.Second)
	tel.Swept(time.Second, nil)
	wantLines(t, scrape(t, tel),
		`nod_waiters{kind="device"} 2.0`, `nod_waiters{kind="repeat"} 4.0`,
		`nod_password_hashes{state="waiting"} 6.0`, `nod_bus_healthy 1.0`,
		`nod_store_queue_length 7.0`, `nod_store_retries_total{reason="conflict"} 9.0`,
		`nod_store_pool_connections{state="most"} 3.0`, `nod_store_pool_waits_total 4.0`,
		`nod_certificate_expiry_timestamp_seconds 77.0`, `nod_bus_keys_published_total 3.0`,
		`nod_feed_lag_seconds{feed="syslog"} 2.0`, `nod_housekeeping_runs_total{result="done"} 1.0`,
	)
	tel.Feeds.Leads("syslog", false)
	if strings.Contains(scrape(t, tel), "nod_feed_lag_seconds{") {
		t.Error("a node that does not send says how far it is behind")
	}
	if err := tel.Register(prometheus.NewCounter(prometheus.CounterOpts{Name: "nod_more_total"})); err != nil {
		t.Error(err)
	}
	if err := tel.Register(prometheus.NewCounter(prometheus.CounterOpts{Name: "nod_more_total"})); err == nil {
		t.Error("one name twice")
	}
}
