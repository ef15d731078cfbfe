package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// Tracing says where spans go. Nothing is traced, and nothing spent on it, without an endpoint or with
// a sample of 0.
type Tracing struct {
	Endpoint      string       // URL of an OTLP/HTTP collector, to which /v1/traces is added where it has no path
	Authorization secret.Value // header of that name; zero for none
	Sample        float64      // share of the requests, 0 to 1
	TrustParent   bool         // go on with the trace that a request names
}

// tracer makes spans. Their attributes are routes, codes and names of steps: nothing of a person.
type tracer struct {
	provider *sdktrace.TracerProvider
	trace.Tracer
	trust bool
}

func newTracer(c Config) (*tracer, error) {
	if c.Tracing.Endpoint == "" || c.Tracing.Sample <= 0 {
		return nil, nil //nolint:nilnil // no tracing is no error
	}
	endpoint, err := url.Parse(c.Tracing.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint of traces: %w", err)
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces"
	}
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(endpoint.String()),
		otlptracehttp.WithHeaders(headers(c.Tracing)),
		otlptracehttp.WithProxy(func(*http.Request) (*url.URL, error) { return nil, nil }), //nolint:nilnil // no proxy
	}
	exporter, err := otlptracehttp.New(context.Background(), options...)
	if err != nil {
		return nil, fmt.Errorf("exporter of traces: %w", err)
	}
	sampler := sdktrace.TraceIDRatioBased(c.Tracing.Sample)
	if c.Tracing.TrustParent {
		sampler = sdktrace.ParentBased(sampler)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter), // which lets spans go when the collector does not keep up
		sdktrace.WithSampler(within{sampler}),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "nod"), attribute.String("service.version", c.Version))),
	)
	return &tracer{provider: provider, Tracer: provider.Tracer("github.com/nodauth/nod"), trust: c.Tracing.TrustParent}, nil
}

func headers(t Tracing) map[string]string {
	if t.Authorization.IsZero() {
		return nil
	}
	return map[string]string{"Authorization": t.Authorization.Reveal()}
}

// within samples whole traces: what happens inside a span is recorded with it, and what happens
// outside of any (sweeps, say) never.
type within struct{ root sdktrace.Sampler }

// ShouldSample implements sdktrace.Sampler.
func (s within) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	if p.Kind == trace.SpanKindServer {
		return s.root.ShouldSample(p)
	}
	if parent.IsSampled() {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample, Tracestate: parent.TraceState()}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.Drop, Tracestate: parent.TraceState()}
}

// Description implements sdktrace.Sampler.
func (s within) Description() string { return "within " + s.root.Description() }

// request begins the span of a request. Its name is known when its route is.
func (t *tracer) request(r *http.Request) (context.Context, string) {
	ctx := r.Context()
	if t.trust {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	ctx, span := t.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return ctx, ""
	}
	return ctx, span.SpanContext().TraceID().String()
}

func (t *tracer) answered(ctx context.Context, a httpkit.Answered) {
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		if a.Route != "" {
			span.SetName(a.Route)
			span.SetAttributes(attribute.String("http.route", a.Route))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", a.Status))
		if a.Code != "" {
			span.SetAttributes(attribute.String("nod.code", a.Code), attribute.String("nod.reason", a.Reason))
		}
		if a.Status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, a.Code)
		}
	}
	span.End()
}

// Steps gives what begins a step of a traced request and tells its end; nil when nothing is traced.
func (t *Telemetry) Steps() func(ctx context.Context, name string) (_ context.Context, end func()) {
	if t.tracer == nil {
		return nil
	}
	return func(ctx context.Context, name string) (context.Context, func()) {
		ctx, end := t.Span(ctx, name)
		return ctx, func() { end(nil) }
	}
}

// Span begins a step of a traced request. end is told how the step ended.
func (t *Telemetry) Span(ctx context.Context, name string) (_ context.Context, end func(error)) {
	if t.tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, ended
	}
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, func(err error) {
		if err != nil {
			code := mfa.CodeOf(err)
			span.SetAttributes(attribute.String("nod.code", string(code)), attribute.String("nod.reason", string(mfa.ReasonOf(err))))
			if code == mfa.Internal || code == mfa.Unavailable {
				span.SetStatus(codes.Error, string(code))
			}
		}
		span.End()
	}
}

// ended is the end of a step that is not traced.
func ended(error) {}

// traceOf gives the id of the trace that records ctx, "" for none.
func (t *Telemetry) traceOf(ctx context.Context) string {
	if t.tracer == nil {
		return ""
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return ""
	}
	return span.SpanContext().TraceID().String()
}
