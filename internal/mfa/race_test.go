//go:build race

package mfa_test

// raceDetector says whether the race detector is compiled in.
const raceDetector = true
