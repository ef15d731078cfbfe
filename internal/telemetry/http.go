package telemetry

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodauth/nod/internal/front/httpkit"
)

// requests counts requests by the pattern of their route, which is one of those that this program
// has.
type requests struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	open    atomic.Int64

	mu     sync.Mutex // held to add a route
	routes atomic.Pointer[map[string]*route]
}

// route is the figures of one route.
type route struct {
	seconds prometheus.Observer
	total   [5]prometheus.Counter // by the first digit of the status
}

func newRequests(r *prometheus.Registry) *requests {
	q := &requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nod_http_requests_total", Help: "Requests answered, by route and class of the status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(histogram("nod_http_request_duration_seconds",
			"From the arrival of a request to the end of its answer, by route. Long polls and streams take as long as they wait.",
			[]float64{.001, .005, .025, .1, .5, 2.5, 10, 60}), []string{"route"}),
	}
	r.MustRegister(q.total, q.seconds, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nod_http_requests_in_flight", Help: "Requests that are being answered, those that wait among them.",
	}, func() float64 { return float64(q.open.Load()) }))
	q.routes.Store(&map[string]*route{})
	return q
}

var classes = [5]string{"1xx", "2xx", "3xx", "4xx", "5xx"}

// of gives the figures of a route, "" for what no route takes.
func (q *requests) of(pattern string) *route {
	if s, ok := (*q.routes.Load())[pattern]; ok {
		return s
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	known := *q.routes.Load()
	if s, ok := known[pattern]; ok {
		return s
	}
	name := pattern
	if name == "" {
		name = "none"
	}
	s := &route{seconds: q.seconds.WithLabelValues(name)}
	for i, class := range classes {
		s.total[i] = q.total.WithLabelValues(name, class)
	}
	more := maps.Clone(known)
	more[pattern] = s
	q.routes.Store(&more)
	return s
}

// Begin implements httpkit.Observer.
func (t *Telemetry) Begin(r *http.Request) (ctx context.Context, trace string) {
	t.http.open.Add(1)
	if t.tracer == nil {
		return r.Context(), ""
	}
	return t.tracer.request(r)
}

// End implements httpkit.Observer.
func (t *Telemetry) End(ctx context.Context, x httpkit.Answered) {
	t.http.open.Add(-1)
	s := t.http.of(x.Route)
	if class := x.Status/100 - 1; class >= 0 && class < len(s.total) {
		s.total[class].Inc()
	}
	observe(s.seconds, x.Took.Seconds(), x.Trace)
	if t.tracer != nil {
		t.tracer.answered(ctx, x)
	}
}

// housekeeping times the sweeps.
type housekeeping struct {
	runs    [2]prometheus.Counter // good, failed
	seconds prometheus.Histogram
}

func newHousekeeping(r *prometheus.Registry) *housekeeping {
	runs := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_housekeeping_runs_total", Help: "Sweeps of what has expired or is kept long enough, by result.",
	}, []string{"result"})
	h := &housekeeping{
		runs: [2]prometheus.Counter{runs.WithLabelValues("done"), runs.WithLabelValues("failed")},
		seconds: prometheus.NewHistogram(histogram("nod_housekeeping_duration_seconds", "How long a sweep takes.",
			[]float64{.01, .1, 1, 10, 60})),
	}
	r.MustRegister(runs, h.seconds)
	return h
}

// Swept notes a sweep that took so long and gave err.
func (t *Telemetry) Swept(took time.Duration, err error) {
	result := 0
	if err != nil {
		result = 1
	}
	t.tidy.runs[result].Inc()
	t.tidy.seconds.Observe(took.Seconds())
}
