package cli

import (
	"testing"
	"time"
)

func TestSpans(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"90s", 90 * time.Second, true},
		{"1h30m", 90 * time.Minute, true},
		{"7d", 168 * time.Hour, true},
		{"0d", 0, true},
		{"65536d", 0, false}, // beyond what a duration holds, and nobody's need
		{"-7d", 0, false},
		{"1.5d", 0, false},
		{"d", 0, false},
		{"7", 0, false},
		{"", 0, false},
		{"a week", 0, false},
	} {
		got, err := parseSpan(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: got %v, %v, want %v", tt.text, got, err, tt.want)
		}
	}
}
