package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Readings are what is read when somebody asks for the figures. A nil function leaves its figures out.
type Readings struct {
	Waiters     func() Waiters
	Hashes      func() (running, waiting int)
	Store       func() StoreReading
	BusHealthy  func() bool
	Certificate func() (expires time.Time, ok bool)
}

// Waiters counts who waits for something on this node.
type Waiters struct {
	Applications int // long polls for a challenge
	Devices      int // long polls for prompts
	Streams      int // event streams
	Repeats      int // repeated requests that wait for the first one
}

// StoreReading is the state of the store.
type StoreReading struct {
	Queued    int   // transactions that wait for the writer
	Stale     int64 // runs of a transaction that found its rows changed
	Conflicts int64 // batches that met another node's
	WALBytes  int64 // SQLite
	Ran       int64 // statements, SQLite
	Pool      *PoolReading
}

// PoolReading is the state of the pool of PostgreSQL connections.
type PoolReading struct {
	Busy, Idle, Most int
	Waits            int64 // for a connection
}

// readings collects a Readings.
type readings struct {
	r     Readings
	descs map[string]*prometheus.Desc
}

// Read adds what r reads to the figures.
func (t *Telemetry) Read(r Readings) {
	c := &readings{r: r, descs: make(map[string]*prometheus.Desc)}
	c.describe("nod_waiters", "Callers that wait on this node: applications and devices in long polls, event streams, repeated requests.", "kind")
	c.describe("nod_password_hashes", "Password hashes that are computed, and that wait for their turn.", "state")
	c.describe("nod_store_queue_length", "Updating transactions that wait for the writer.")
	c.describe("nod_store_retries_total", "Transactions that ran again: stale found its rows changed, conflict met another node's writes.", "reason")
	c.describe("nod_store_wal_bytes", "Length of SQLite's write-ahead log.")
	c.describe("nod_store_statements_total", "Statements that SQLite has carried out.")
	c.describe("nod_store_pool_connections", "Connections of PostgreSQL for reading, by state; most is the limit.", "state")
	c.describe("nod_store_pool_waits_total", "Times that a reader had to wait for a connection of PostgreSQL.")
	c.describe("nod_bus_healthy", "1 while wake-ups flow to and from other nodes.")
	c.describe("nod_certificate_expiry_timestamp_seconds", "When the certificate of the listener expires, in seconds since 1970.")
	t.registry.MustRegister(c)
}

func (c *readings) describe(name, help string, labels ...string) {
	c.descs[name] = prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c *readings) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *readings) Collect(to chan<- prometheus.Metric) {
	gauge := func(name string, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(c.descs[name], prometheus.GaugeValue, v, labels...)
	}
	count := func(name string, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(c.descs[name], prometheus.CounterValue, float64(v), labels...)
	}
	if c.r.Waiters != nil {
		w := c.r.Waiters()
		gauge("nod_waiters", float64(w.Applications), "application")
		gauge("nod_waiters", float64(w.Devices), "device")
		gauge("nod_waiters", float64(w.Streams), "stream")
		gauge("nod_waiters", float64(w.Repeats), "repeat")
	}
	if c.r.Hashes != nil {
		running, waiting := c.r.Hashes()
		gauge("nod_password_hashes", float64(running), "running")
		gauge("nod_password_hashes", float64(waiting), "waiting")
	}
	if c.r.Store != nil {
		s := c.r.Store()
		gauge("nod_store_queue_length", float64(s.Queued))
		count("nod_store_retries_total", s.Stale, "stale")
		count("nod_store_retries_total", s.Conflicts, "conflict")
		if s.Pool == nil {
			gauge("nod_store_wal_bytes", float64(s.WALBytes))
			count("nod_store_statements_total", s.Ran)
		} else {
			gauge("nod_store_pool_connections", float64(s.Pool.Busy), "busy")
			gauge("nod_store_pool_connections", float64(s.Pool.Idle), "idle")
			gauge("nod_store_pool_connections", float64(s.Pool.Most), "most")
			count("nod_store_pool_waits_total", s.Pool.Waits)
		}
	}
	if c.r.BusHealthy != nil {
		healthy := 0.0
		if c.r.BusHealthy() {
			healthy = 1
		}
		gauge("nod_bus_healthy", healthy)
	}
	if c.r.Certificate != nil {
		if at, ok := c.r.Certificate(); ok {
			gauge("nod_certificate_expiry_timestamp_seconds", float64(at.Unix()))
		}
	}
}

// Bus counts wake-ups. Its methods may be called by any goroutine.
type Bus struct{ published, received, resyncs prometheus.Counter }

func newBus(r *prometheus.Registry) *Bus {
	b := &Bus{
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nod_bus_keys_published_total", Help: "Wake-ups that this node gave to the bus, before equal ones become one.",
		}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nod_bus_keys_received_total", Help: "Wake-ups that came from the bus, of this node and of others.",
		}),
		resyncs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nod_bus_resyncs_total", Help: "Times that every waiter was woken because wake-ups may have been lost.",
		}),
	}
	r.MustRegister(b.published, b.received, b.resyncs)
	return b
}

// Published notes n keys that were given to the bus.
func (b *Bus) Published(n int) { b.published.Add(float64(n)) }

// Received notes a key that came from the bus.
func (b *Bus) Received() { b.received.Inc() }

// Resynced notes that wake-ups may have been lost.
func (b *Bus) Resynced() { b.resyncs.Inc() }

// Feeds counts what is sent to the places that get every event. Its methods may be called by any
// goroutine.
type Feeds struct {
	sent, failed *prometheus.CounterVec
	lag, leads   *prometheus.GaugeVec
}

func newFeeds(r *prometheus.Registry) *Feeds {
	f := &Feeds{
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nod_feed_events_sent_total", Help: "Events that this node sent, by feed (syslog, file).",
		}, []string{"feed"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nod_feed_failures_total", Help: "Attempts to send events that failed, by feed.",
		}, []string{"feed"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "nod_feed_lag_seconds", Help: "How far the feed is behind, on the node that sends it: the age of the oldest event that is not sent.",
		}, []string{"feed"}),
		leads: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "nod_feed_leader", Help: "1 on the node that sends the feed.",
		}, []string{"feed"}),
	}
	r.MustRegister(f.sent, f.failed, f.lag, f.leads)
	return f
}

// Leads notes whether this node sends the feed.
func (f *Feeds) Leads(feed string, leads bool) {
	if leads {
		f.leads.WithLabelValues(feed).Set(1)
		return
	}
	f.leads.WithLabelValues(feed).Set(0)
	f.lag.DeleteLabelValues(feed)
}

// Sent notes events that were sent.
func (f *Feeds) Sent(feed string, n int) { f.sent.WithLabelValues(feed).Add(float64(n)) }

// Failed notes an attempt that failed.
func (f *Feeds) Failed(feed string) { f.failed.WithLabelValues(feed).Inc() }

// Lag notes how far a feed is behind.
func (f *Feeds) Lag(feed string, behind time.Duration) {
	f.lag.WithLabelValues(feed).Set(behind.Seconds())
}
