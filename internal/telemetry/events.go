package telemetry

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
)

// events counts what transactions have written: events, and what they say of challenges.
type events struct {
	kinds map[string]*kind

	created    map[mfa.ProvenanceClass]prometheus.Counter
	rung       prometheus.Counter
	suppressed map[string]prometheus.Counter // by reason
	spent      map[string]prometheus.Counter // by kind of guess
	wrong      *prometheus.CounterVec
}

// kind is the figures of one kind of event.
type kind struct {
	total prometheus.Counter
	// count counts what more the event says; nil if it says nothing.
	count func(e *events, w written, c *put, trace string)

	moves   map[move]prometheus.Counter // of a transition
	decided prometheus.Observer         // of a decision
}

// move is what is told apart in a transition of a challenge. By is the match of a push, or the method.
type move struct {
	provenance mfa.ProvenanceClass
	by         string
}

const nothing = "none"

func provenances() []mfa.ProvenanceClass {
	return []mfa.ProvenanceClass{mfa.KnownBrowser, mfa.KnownSource, mfa.Stranger}
}

func newEvents(r *prometheus.Registry) *events {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_events_written_total", Help: "Events of the audit record, by kind.",
	}, []string{"kind"})
	created := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_challenges_created_total", Help: "Challenges that were made, by provenance.",
	}, []string{"provenance"})
	rung := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "nod_prompts_rung_total", Help: "Challenges that rang and were listed on devices.",
	})
	suppressed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_prompts_suppressed_total", Help: "Challenges that neither rang nor were listed, by reason.",
	}, []string{"reason"})
	spent := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_guesses_refused_total", Help: "Codes and passwords that were not looked at because an allowance is spent.",
	}, []string{"kind"})
	e := &events{
		kinds: make(map[string]*kind), created: make(map[mfa.ProvenanceClass]prometheus.Counter), rung: rung,
		suppressed: make(map[string]prometheus.Counter), spent: make(map[string]prometheus.Counter),
		wrong: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nod_wrong_answers_total", Help: "Answers that were wrong: of devices (match), typed codes, passwords.",
		}, []string{"kind"}),
	}
	for _, p := range provenances() {
		e.created[p] = created.WithLabelValues(string(p))
	}
	for _, reason := range []mfa.RingReason{
		mfa.RingBudgetSpent, mfa.RingSlotTaken, mfa.RingWaiting, mfa.RingReported, mfa.RingByName, mfa.RingNobody,
	} {
		e.suppressed[string(reason)] = suppressed.WithLabelValues(string(reason))
	}
	for _, k := range []string{"typed", "password"} {
		e.spent[k] = spent.WithLabelValues(k)
	}
	for _, name := range audit.Kinds() {
		e.kinds[name] = &kind{total: total.WithLabelValues(name)}
	}
	e.kinds[audit.ChallengeCreated].count = (*events).creation
	e.kinds[audit.GuessesSpent].count = (*events).refusal
	for name, label := range map[string]string{
		string(mfa.RecordWrong): "match", string(mfa.RecordWrongCode): "code", audit.PasswordWrong: "password",
	} {
		wrong := e.wrong.WithLabelValues(label)
		e.kinds[name].count = func(*events, written, *put, string) { wrong.Inc() }
	}
	r.MustRegister(total, created, rung, suppressed, spent, e.wrong)
	e.transitions(r)
	return e
}

// transitions prepares the figures of what becomes of challenges.
func (e *events) transitions(r *prometheus.Registry) {
	ends := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_challenge_transitions_total",
		Help: "Challenges that came into a state, by the match of the push or the method that answered, and by provenance.",
	}, []string{"to", "by", "provenance"})
	decided := prometheus.NewHistogramVec(histogram("nod_challenge_decision_duration_seconds",
		"From the creation of a challenge to its decision, by result.", []float64{1, 2.5, 5, 10, 20, 40, 80, 120, 300}),
		[]string{"result"})
	r.MustRegister(ends, decided)
	var answers []string
	for _, m := range mfa.AllMatches() {
		answers = append(answers, string(m))
	}
	for _, m := range mfa.AllMethods() {
		if m != mfa.Push {
			answers = append(answers, string(m))
		}
	}
	for _, name := range []mfa.Recorded{
		mfa.RecordAnswered, mfa.RecordApproved, mfa.RecordRedeemed, mfa.RecordDenied, mfa.RecordReported,
		mfa.RecordFailed, mfa.RecordExpired, mfa.RecordCancelled,
	} {
		to := strings.TrimPrefix(string(name), "challenge.")
		k := e.kinds[string(name)]
		k.moves, k.count = make(map[move]prometheus.Counter), k.transition
		by := []string{nothing}
		if slices.Contains([]mfa.Recorded{mfa.RecordAnswered, mfa.RecordApproved, mfa.RecordRedeemed}, name) {
			by = answers
		}
		for _, b := range by {
			for _, p := range provenances() {
				k.moves[move{p, b}] = ends.WithLabelValues(to, b, string(p))
			}
		}
		if slices.Contains([]mfa.Recorded{mfa.RecordApproved, mfa.RecordDenied, mfa.RecordFailed}, name) {
			k.decided = decided.WithLabelValues(to)
		}
	}
}

// count counts what a committed transaction has written.
func (e *events) count(t *seenTx, trace string) {
	for _, w := range t.events {
		k := e.kinds[w.kind]
		if k == nil {
			continue // a kind that is not in the list of kinds, which a test of that list finds
		}
		k.total.Inc()
		if k.count == nil {
			continue
		}
		var c *put
		for i := range t.challenges {
			if t.challenges[i].id == w.challenge {
				c = &t.challenges[i]
				break
			}
		}
		k.count(e, w, c, trace)
	}
}

func (e *events) creation(w written, _ *put, _ string) {
	if c := e.created[mfa.ProvenanceClass(w.data["provenance"])]; c != nil {
		c.Inc()
	}
	if w.data["rung"] == "yes" {
		e.rung.Inc()
	} else if c := e.suppressed[w.data["reason"]]; c != nil {
		c.Inc()
	}
}

func (e *events) refusal(w written, _ *put, _ string) {
	if c := e.spent[w.data["kind"]]; c != nil {
		c.Inc()
	}
}

func (k *kind) transition(_ *events, w written, c *put, trace string) {
	if c == nil {
		return
	}
	by := string(c.match)
	if by == "" {
		by = string(c.method)
	}
	n := k.moves[move{c.provenance, by}]
	if n == nil {
		n = k.moves[move{c.provenance, nothing}]
	}
	if n != nil {
		n.Inc()
	}
	if k.decided != nil {
		observe(k.decided, w.at.Sub(c.created).Seconds(), trace)
	}
}
