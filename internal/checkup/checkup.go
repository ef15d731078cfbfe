// Package checkup is the words in which nod doctor says how something is.
package checkup

import "fmt"

// Status is how a check ended.
type Status string

// The statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn" // it works, and somebody should look at it
	Fail Status = "fail" // it does not work, or breaks a promise
)

// Check is one thing that was looked at. Nothing in it is secret.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`            // what is so
	Advice string `json:"advice,omitempty"` // what to do about it
}

// Good says that all is well.
func Good(name, found string, args ...any) Check {
	return Check{Name: name, Status: OK, Found: fmt.Sprintf(found, args...)}
}

// Doubt says what somebody should look at, and what to do.
func Doubt(name, advice, found string, args ...any) Check {
	return Check{Name: name, Status: Warn, Found: fmt.Sprintf(found, args...), Advice: advice}
}

// Bad says what does not work, and what to do.
func Bad(name, advice, found string, args ...any) Check {
	return Check{Name: name, Status: Fail, Found: fmt.Sprintf(found, args...), Advice: advice}
}

// Failed says whether any check did.
func Failed(all []Check) bool {
	for _, c := range all {
		if c.Status == Fail {
			return true
		}
	}
	return false
}
