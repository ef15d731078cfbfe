// Package telemetry counts and times what a server does, for Prometheus, and traces it, for an
// OpenTelemetry collector.
//
// Nothing is counted in the services themselves. Requests are seen by the outermost layer of the
// listeners ([Telemetry] is its observer), transactions by a [Telemetry.Store] that stands before the
// real one: it sees every event that a transaction writes and counts it after the commit, so that a
// figure never speaks of what did not happen. What can be read at any time (queues, pools, waiters) is
// read when somebody asks for the figures ([Readings]).
//
// No label holds a name, an address, an application or anything else that callers choose, so that the
// number of series is bounded by this program.
package telemetry

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config of Telemetry.
type Config struct {
	Version string // of the program
	Tracing Tracing
}

// Telemetry is the figures and the traces of one server. It is safe for concurrent use.
type Telemetry struct {
	registry *prometheus.Registry
	tracer   *tracer // nil when nothing is traced

	http   *requests
	stores *transactions
	audit  *events
	outbox *outbox
	Bus    *Bus
	Feeds  *Feeds
	tidy   *housekeeping
}

// New makes Telemetry with a registry of its own. The exporter of traces connects when there is
// something to send.
func New(c Config) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry()}
	var err error
	if t.tracer, err = newTracer(c); err != nil {
		return nil, err
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "nod_build_info", Help: "1, with the version of the program and of Go as labels.",
	}, []string{"version", "go"})
	build.WithLabelValues(c.Version, runtime.Version()).Set(1)
	t.registry.MustRegister(
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	t.http = newRequests(t.registry)
	t.stores = newTransactions(t.registry)
	t.audit = newEvents(t.registry)
	t.outbox = newOutbox(t.registry)
	t.Bus = newBus(t.registry)
	t.Feeds = newFeeds(t.registry)
	t.tidy = newHousekeeping(t.registry)
	return t, nil
}

// Register adds figures of another part. It returns an error for names that are there already.
func (t *Telemetry) Register(c prometheus.Collector) error { return t.registry.Register(c) }

// Handler serves the figures, in each of the formats that Prometheus asks for.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		Registry: t.registry, EnableOpenMetrics: true, MaxRequestsInFlight: 4,
	})
}

// Close sends the spans that are left, until ctx ends.
func (t *Telemetry) Close(ctx context.Context) error {
	if t.tracer == nil {
		return nil
	}
	return t.tracer.provider.Shutdown(ctx)
}

// histogram has exact buckets for those who read native histograms and a few rough ones for others.
func histogram(name, help string, rough []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: rough,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

// observe adds a value, with the trace to which it belongs as an exemplar.
func observe(o prometheus.Observer, v float64, trace string) {
	if trace == "" {
		o.Observe(v)
		return
	}
	if e, ok := o.(prometheus.ExemplarObserver); ok {
		e.ObserveWithExemplar(v, prometheus.Labels{"trace_id": trace})
	}
}
